/* Sorting elements by magnitude. No allocation, no globals. */
#ifndef TV_MAGNITUDE_SORT_H
#define TV_MAGNITUDE_SORT_H

#include <stddef.h>
#include <stdint.h>

/* Sorts n < 2^32 elements by |x|, ascending; of equal ones, the lower index comes first. `work` has
 * space for 2 n numbers. Returns n keys in `work`: magnitude_sort_index(key[r]) is the index of the
 * element of rank r. */
const uint64_t *magnitude_sort_ascending(const float *x, size_t n, uint64_t *work);

static inline size_t magnitude_sort_index(uint64_t key)
{
    return (uint32_t)key;
}

#endif
