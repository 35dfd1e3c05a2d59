/* Tensors side by side: if a filter computes long in its rounds over a tensor (filter.h,
 * tensor_memory), the rounds of several tensors run at once, each on one thread. The tensors then
 * reach the sink one after another, in order, so the bytes are the same. */
#ifndef TV_TENSOR_LANES_H
#define TV_TENSOR_LANES_H

#include "runner_state.h"

/* How many tensors may be processed at once; 1: one after another is as good, or the source can
 * only be read in order. */
size_t tensor_lanes_count(const struct runner *r);
/* Brings all tensors that the sink wants to it, with n > 1 processed at once. */
int tensor_lanes_run(struct runner *r, size_t n,
                     bool (*wants_tensor)(const struct runner *, size_t), struct error *e);

#endif
