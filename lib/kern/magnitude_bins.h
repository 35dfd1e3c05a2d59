/* Bins of magnitudes: 2^shift neighboring magnitudes each, between the smallest nonzero magnitude
 * of a row and the largest, after a bin for 0. A magnitude is the bits of |x|, which as a number
 * are ordered like |x|. No allocation, no globals. */
#ifndef TV_MAGNITUDE_BINS_H
#define TV_MAGNITUDE_BINS_H

#include "simd.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MAGNITUDE_BINS_MAX 4096

struct magnitude_bins {
    size_t n;
    uint32_t least; /* the smallest nonzero magnitude: start of the second bin */
    unsigned shift;
};

TV_INLINE uint32_t magnitude_bins_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7FFFFFFF;
}

/* 256 to MAGNITUDE_BINS_MAX bins for x[n], about `wanted`. */
struct magnitude_bins magnitude_bins_choose(const float *x, size_t n, size_t wanted);
/* bin[i] of each x[i] */
void magnitude_bins_find(struct magnitude_bins b, const float *x, size_t n, uint32_t *bin);
/* Do all elements of this bin have the same magnitude? */
static inline bool magnitude_bins_is_exact(struct magnitude_bins b, size_t bin)
{
    return bin == 0 || b.shift == 0;
}

#endif
