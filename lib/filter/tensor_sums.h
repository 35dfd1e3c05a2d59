/* Sums over a tensor, taken block by block in an observe, for the filters that need no more than
 * one round. The work area holds one number per vector. */
#ifndef TV_TENSOR_SUMS_H
#define TV_TENSOR_SUMS_H

#include "filter.h"

/* For a filter's descriptor. Sum |x|, and sum x^2, of each vector of the block: */
int tensor_sums_observe_abs(const struct job *job, const struct block *b, void *work,
                            struct error *e);
int tensor_sums_observe_squares(const struct job *job, const struct block *b, void *work,
                                struct error *e);
/* Adds n numbers that an observe found; in block order. */
void tensor_sums_add(const void *found, size_t n, double *sums);

#endif
