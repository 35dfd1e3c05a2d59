#include "matrix_filter.h"

#include "join.h"
#include "matrix.h"
#include "openblas.h"
#include "tensor_name.h"

#include <stdlib.h>
#include <string.h>

/* ---- open and begin -------------------------------------------------------------------------- */

bool matrix_filter_applies(int matrices, const struct tensor *t)
{
    if (t->rank != 2 || !tensor_is_float(t) || tensor_elements(t) == 0)
        return false;
    return matrices == MATRICES_ALL ||
           !(tensor_name_is_embedding(t->name) || tensor_name_is_lm_head(t->name));
}

int matrix_filter_open(struct stage *s, const struct header *h, int matrices,
                       size_t (*eigen_size)(size_t m, size_t n, size_t K), struct error *e)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        if (!matrix_filter_applies(matrices, t))
            continue;
        size_t m = t->shape[0], n = t->shape[1], size = eigen_size(m, n, t->n_vectors);
        if (size > MATRIX_EIGEN_MAX || m > MATRIX_MAX || n > MATRIX_MAX)
            return error_set(e,
                             "tensor %s is (%zu, %zu); this method needs the eigenvectors of a "
                             "matrix of %zu rows, and at most %zu are supported",
                             t->name, m, n, size, MATRIX_EIGEN_MAX);
    }
    if (matrix_init(e))
        return -1;
    s->blas = openblas_description();
    return 0;
}

size_t matrix_filter_shorter_side(size_t m, size_t n, size_t K)
{
    return m < n ? m : n;
}

int matrix_filter_open_join(struct stage *s, struct header *h, int matrices,
                            size_t (*eigen_size)(size_t m, size_t n, size_t K), const char *name,
                            struct error *e)
{
    return matrix_filter_open(s, h, matrices, eigen_size, e) ||
                   join_declare_merged_model(h, name, 1, SIZE_MAX, e)
               ? -1
               : 0;
}

bool matrix_filter_has_direction_each(const struct tensor *t)
{
    return t->n_vectors <= t->shape[0] && t->n_vectors <= t->shape[1];
}

int matrix_filter_begin(struct job *job)
{
    const struct tensor *t = job->in;
    struct matrix_filter *f = job->state = arena_alloc(job->arena, 1, sizeof *f);
    f->n_vectors = t->n_vectors;
    f->rows = t->shape[0];
    f->columns = t->shape[1];
    f->x = arena_alloc(job->arena, f->n_vectors, sizeof *f->x);
    for (size_t k = 0; k < f->n_vectors; k++)
        f->x[k] = mem_alloc_aligned(tensor_elements(t) * sizeof **f->x);
    job->work_size = f->n_vectors * job->block_elements * sizeof **f->x;
    return PLAN_OBSERVE;
}

int matrix_filter_begin_join(struct job *job, bool applies, struct error *e)
{
    if (join_use_weights(job, JOIN_NO_WEIGHTS, e))
        return -1;
    return applies ? matrix_filter_begin(job) : PLAN_TRANSFORM;
}

int matrix_filter_end(struct job *job, bool ok, struct error *e)
{
    struct matrix_filter *f = job->state;
    for (size_t k = 0; f && k < f->n_vectors; k++)
        free(f->x[k]);
    return 0;
}

/* ---- the round ------------------------------------------------------------------------------- */

/* The work area has the elements of all vectors, one vector after the other. */
int matrix_filter_observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    float *to = work;
    for (size_t k = 0; k < b->n_vectors; k++)
        memcpy(to + k * b->n, b->data[k], b->n * sizeof *to);
    return 0;
}

int matrix_filter_accumulate(struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct matrix_filter *f = job->state;
    const float *from = work;
    for (size_t k = 0; k < f->n_vectors; k++)
        memcpy(f->x[k] + b->first, from + k * b->n, b->n * sizeof *from);
    return 0;
}

int matrix_filter_compute(struct job *job,
                          int (*method)(struct matrix_filter *, const void *options,
                                        struct error *),
                          struct error *e)
{
    struct matrix_filter *f = job->state;
    if (!f)
        return VERDICT_DONE;
    for (size_t k = 0; k < f->n_vectors; k++)
        if (!isfinite(matrix_filter_squared_norm(f, k)))
            return error_set(e,
                             "tensor %s of %s has a non-finite number, which this method does "
                             "not support",
                             job->in->name, job->stage->in->models[job->in->vectors[k].model].name);
    struct error cause;
    return method(f, job->stage->options, &cause)
               ? error_set(e, "tensor %s: %s", job->in->name, cause.text)
               : VERDICT_DONE;
}

/* ---- the result ------------------------------------------------------------------------------ */

void matrix_filter_copy_result(const struct matrix_filter *f, struct block *b, size_t n_vectors)
{
    for (size_t k = 0; k < n_vectors; k++)
        memcpy(b->data[k], f->x[k] + b->first, b->n * sizeof **f->x);
}

/* x_0 = the mean of all x_k */
static void average_block(struct block *b)
{
    float **x = join_list_vector_pointers(b);
    double *ones = mem_alloc(b->n_vectors, sizeof *ones);
    for (size_t k = 0; k < b->n_vectors; k++)
        ones[k] = 1;
    vector_math_weighted_sum(x, ones, b->n_vectors, (double)b->n_vectors, x[0], b->n);
    free(ones);
    free(x);
}

int matrix_filter_transform_join(const struct job *job, struct block *b, struct error *e)
{
    if (!tensor_is_float(job->in))
        return join_require_identical(job->in, b, e);
    if (job->state)
        matrix_filter_copy_result(job->state, b, 1);
    else
        average_block(b);
    b->n_vectors = 1;
    return 0;
}

uint64_t matrix_filter_memory(const struct tensor *t, double doubles)
{
    double floats = (double)t->n_vectors * (double)tensor_elements(t);
    return (uint64_t)((double)sizeof(float) * floats + (double)sizeof(double) * doubles);
}

/* ---- helpers of methods ---------------------------------------------------------------------- */

size_t matrix_filter_min_side(const struct matrix_filter *f)
{
    return f->rows < f->columns ? f->rows : f->columns;
}

double *matrix_filter_widen(const struct matrix_filter *f, size_t k)
{
    size_t n = f->rows * f->columns;
    double *d = mem_alloc_aligned(n * sizeof *d);
    for (size_t i = 0; i < n; i++)
        d[i] = (double)f->x[k][i];
    return d;
}

double *matrix_filter_sum(const struct matrix_filter *f)
{
    size_t n = f->rows * f->columns;
    double *sum = matrix_filter_widen(f, 0);
    for (size_t k = 1; k < f->n_vectors; k++)
        for (size_t i = 0; i < n; i++)
            sum[i] += (double)f->x[k][i];
    return sum;
}

double matrix_filter_squared_norm(const struct matrix_filter *f, size_t k)
{
    return vector_math_sum_squares(f->x[k], f->rows * f->columns);
}

void matrix_filter_set(struct matrix_filter *f, size_t k, const double *result)
{
    for (size_t i = 0; i < f->rows * f->columns; i++)
        f->x[k][i] = (float)result[i];
}
