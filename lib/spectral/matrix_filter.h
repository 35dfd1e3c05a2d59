/* Filters that compute on whole matrices, such as the singular value decomposition of a task
 * vector. One round collects the K vectors of a matrix in memory, in F32; the method computes on
 * them in double and leaves its result in their place; `transform` then copies it into the blocks.
 * All other tensors are averaged.
 *
 * job->state is a struct matrix_filter, which the runner frees by matrix_filter_end, or NULL for
 * every other tensor. */
#ifndef TV_MATRIX_FILTER_H
#define TV_MATRIX_FILTER_H

#include "filter.h"
#include "svd.h"

struct matrix_filter {
    size_t n_vectors, rows, columns; /* K, m, n */
    float **x;                       /* [k]: (m, n) */
};

/* The option row for the matrices that a method works on; `field` is an int in the filter's struct
 * of options. */
enum { MATRICES_LINEAR, MATRICES_ALL };
#define MATRICES_ROW(type, field)                                                                  \
    {                                                                                              \
        "matrices", OPTION_CHOICE, offsetof(struct type, field), "linear|all",                     \
            .help = "matrices to work on: all but embeddings and heads (linear, default), or all", \
            .choices = "linear|all", .default_value = "linear"                                     \
    }

/* The option row for the smallest singular value of a direction that is kept, as a fraction of the
 * largest; `field` is a double. */
#define TOLERANCE_ROW(type, field)                                                                 \
    {                                                                                              \
        "tolerance", OPTION_NUMBER, offsetof(struct type, field), "T",                             \
            .help = "drop directions whose singular value is at most T times the largest "         \
                    "(default 1e-6)",                                                              \
            .range = {.low = SVD_MIN_TOLERANCE, .high = 1, .high_open = true},                     \
            .default_value = "1e-6"                                                                \
    }

/* Does the method work on the tensor? It has two dimensions, elements, and a floating dtype. */
bool matrix_filter_applies(int matrices, const struct tensor *t);
/* In open: loads OpenBLAS, and records which one. An error if the method needs eigenvectors of a
 * matrix that is too large; eigen_size(m, n, K) is the number of its rows. */
int matrix_filter_open(struct stage *s, const struct header *h, int matrices,
                       size_t (*eigen_size)(size_t m, size_t n, size_t K), struct error *e);
/* An eigen_size: for the singular vectors of a task vector. */
size_t matrix_filter_shorter_side(size_t m, size_t n, size_t K);
/* The same for a join, which also declares its model, `name`. */
int matrix_filter_open_join(struct stage *s, struct header *h, int matrices,
                            size_t (*eigen_size)(size_t m, size_t n, size_t K), const char *name,
                            struct error *e);
/* For `begin_tensor`, if the method works on the tensor: sets job->state and returns the plan. */
int matrix_filter_begin(struct job *job);
/* For that of a join, for any tensor. Weights are errors. */
int matrix_filter_begin_join(struct job *job, bool applies, struct error *e);
/* For the descriptor, with SCOPE_TENSOR. */
int matrix_filter_observe(const struct job *job, const struct block *b, void *work,
                          struct error *e);
int matrix_filter_accumulate(struct job *job, const struct block *b, void *work, struct error *e);
int matrix_filter_end(struct job *job, bool ok, struct error *e);
/* For `end_round`: runs the method if there is a job->state. It replaces x[0], x[1], ... by its
 * result. Returns the verdict, or -1 with an error that names the tensor. */
int matrix_filter_compute(struct job *job,
                          int (*method)(struct matrix_filter *, const void *options,
                                        struct error *),
                          struct error *e);
/* For `transform`: copies the result to the vectors of the block. */
void matrix_filter_copy_result(const struct matrix_filter *f, struct block *b, size_t n_vectors);

/* For `transform` of a join: the result or, for other tensors, the mean; one vector remains. */
int matrix_filter_transform_join(const struct job *job, struct block *b, struct error *e);

/* Is the number of vectors at most the shorter side, so that each can keep a direction? */
bool matrix_filter_has_direction_each(const struct tensor *t);

/* For `tensor_memory`: the vectors, and as many doubles. */
uint64_t matrix_filter_memory(const struct tensor *t, double doubles);

/* Helpers of methods. */
size_t matrix_filter_min_side(const struct matrix_filter *f);
/* x_k in double, to be freed. */
double *matrix_filter_widen(const struct matrix_filter *f, size_t k);
/* sum_k x_k in double, to be freed. */
double *matrix_filter_sum(const struct matrix_filter *f);
/* |x_k|^2 */
double matrix_filter_squared_norm(const struct matrix_filter *f, size_t k);
/* Replaces x_k by `result` (m, n), rounded. */
void matrix_filter_set(struct matrix_filter *f, size_t k, const double *result);

#endif
