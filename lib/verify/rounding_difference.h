/* Are the differences between the elements of two tensors only those of rounding, as between two
 * processors whose matrix kernels add in another order? Each element may differ by one unit in its
 * last place, or by 1e-6 of the largest magnitude of the tensor. Several threads may add elements.
 */
#ifndef TV_ROUNDING_DIFFERENCE_H
#define TV_ROUNDING_DIFFERENCE_H

#include "dtype.h"

#include <stdatomic.h>
#include <stdint.h>

/* Of one tensor; starts zeroed. Floats of at least 0, as bits: their order is that of the numbers.
 */
struct rounding_difference {
    _Atomic uint32_t difference; /* the largest one of more than a unit in the last place */
    _Atomic uint32_t magnitude;  /* the largest one of the stored elements */
};

/* Adds n elements of the dtype. Those of a dtype that is not floating-point must be equal. */
void rounding_difference_add(struct rounding_difference *d, enum dtype dtype, const void *x,
                             const void *stored, size_t n);
bool rounding_difference_is_small(const struct rounding_difference *d);

#endif
