/* Joins that need to know nothing of the vectors but their inner products: the result is
 * sum_k c_k x_k, with coefficients that follow from the matrix of all <x_j, x_k> over the tensor.
 * One round sums it up in double. The functions are those of a filter's life (filter.h) with a gram
 * as job->state; what a method adds is its `decide`, which sets the coefficients. */
#ifndef TV_GRAM_JOIN_H
#define TV_GRAM_JOIN_H

#include "join.h"

/* At most so many vectors. */
#define GRAM_JOIN_MAX 1024

struct gram_join {
    size_t n_vectors;     /* vectors */
    double *dot_products; /* (n, n) */
    double
        *coefficients; /* (n), set in decide; until then the first vector's is 1, the others' 0 */
};

/* The plan; weights are checked. job->state stays NULL for tensors that are not floating. */
int gram_join_begin(struct job *job, enum join_weights weights, struct error *e);
int gram_join_observe(const struct job *job, const struct block *b, void *work, struct error *e);
int gram_join_accumulate(struct job *job, const struct block *b, void *work, struct error *e);
int gram_join_transform(const struct job *job, struct block *b, struct error *e);

/* |x_k| */
double gram_join_vector_norm(const struct gram_join *g, size_t k);
/* <x_k, sum_j a_j x_j>, and |sum_j a_j x_j| */
double gram_join_dot_with_sum(const struct gram_join *g, size_t k, const double *a);
double gram_join_norm_of_sum(const struct gram_join *g, const double *a);

/* Spherical interpolation between two vectors at an angle of that cosine, t of the way:
 * c = sin((1 - t) th) / sin th, sin(t th) / sin th. */
void gram_join_slerp_coefficients(double cosine, double t, double c[2]);

#endif
