/* Joins whose result depends on the vectors only through their inner products (the Gram matrix):
 * y = sum_k c_k x_k, where the coefficients c follow from all <x_j, x_k> over the tensor. One round
 * sums the inner products, in double. job->state is a struct gram_join in job->arena, or NULL for
 * non-floating tensors; a method adds its `end_round`, which sets the coefficients. */
#ifndef TV_GRAM_JOIN_H
#define TV_GRAM_JOIN_H

#include "join.h"

/* The largest number of vectors. */
#define GRAM_JOIN_MAX 1024

struct gram_join {
    size_t n_vectors;     /* K */
    double *dot_products; /* (K, K): <x_j, x_k> */
    double *coefficients; /* (K): c, set in decide; before that 1, 0, 0, ... */
};

/* For `begin_tensor`: checks the weights, sets job->state and returns the plan, or -1. */
int gram_join_begin(struct job *job, enum join_weights weights, struct error *e);
/* For the descriptor, with SCOPE_TENSOR. */
int gram_join_observe(const struct job *job, const struct block *b, void *work, struct error *e);
int gram_join_accumulate(struct job *job, const struct block *b, void *work, struct error *e);
int gram_join_transform(const struct job *job, struct block *b, struct error *e);

/* |x_k| */
double gram_join_vector_norm(const struct gram_join *g, size_t k);
/* <x_k, sum_j a_j x_j>; a: (K) */
double gram_join_dot_with_sum(const struct gram_join *g, size_t k, const double *a);
/* |sum_j a_j x_j|; a: (K) */
double gram_join_norm_of_sum(const struct gram_join *g, const double *a);

/* The coefficients of SLERP at t in [0, 1] between two vectors at an angle th, by its cosine:
 * c = sin((1 - t) th) / sin th, sin(t th) / sin th. */
void gram_join_slerp_coefficients(double cosine, double t, double c[2]);

#endif
