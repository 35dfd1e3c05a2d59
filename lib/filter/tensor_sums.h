/* Sums over each vector of a tensor, for filters that need one round. The sums of a block are taken
 * in double into the work area, one per vector, and added in order of the blocks. */
#ifndef TV_TENSOR_SUMS_H
#define TV_TENSOR_SUMS_H

#include "filter.h"

/* For a descriptor's `observe_block`: sum |x|; sum x^2. */
int tensor_sums_observe_abs(const struct job *job, const struct block *b, void *work,
                            struct error *e);
int tensor_sums_observe_squares(const struct job *job, const struct block *b, void *work,
                                struct error *e);
/* For `accumulate_block`: adds the n sums of a work area to `sums`. */
void tensor_sums_add_block_sums(const void *work, size_t n, double *sums);

#endif
