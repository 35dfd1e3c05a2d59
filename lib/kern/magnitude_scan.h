/* Loops over the magnitudes |x| of an array: sampling, counting and listing them within a bracket,
 * histograms, and the r-th largest. A magnitude is the bits of |x| as a signed integer, which
 * orders like |x|; -1 is below all of them. magnitude_select.h combines these loops. No allocation,
 * no globals. */
#ifndef TV_MAGNITUDE_SCAN_H
#define TV_MAGNITUDE_SCAN_H

#include "simd.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef int32_t magnitude;

#define MAGNITUDE_SCAN_MAX     INT32_MAX /* at least the magnitude of any NaN */
#define MAGNITUDE_SCAN_TILE    4096
#define MAGNITUDE_SCAN_BINS    4096
#define MAGNITUDE_SCAN_PADDING 16 /* elements that may be written after a list */

TV_INLINE magnitude magnitude_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (magnitude)(bits & 0x7FFFFFFF);
}

/* Elements of an array: their magnitudes, and their indexes in it. */
struct magnitude_candidates {
    magnitude *bits;
    uint32_t *offset;
};

/* Elements of a bracket low < |x| <= high. */
struct magnitude_counts {
    uint64_t larger; /* |x| > high */
    uint64_t inside;
    uint64_t equal_low; /* |x| == low */
};

/* The magnitude at a rank. */
struct magnitude_order_statistic {
    magnitude bits;
    uint64_t larger; /* how many magnitudes are larger */
    uint64_t equal;  /* and how many are equal */
};

/* sample[i] = magnitude of x[stride i], for i < n */
void magnitude_scan_sample(const float *x, size_t n, size_t stride, magnitude *sample);
/* Adds the counts of x[0..n) to `counts` and writes the elements inside the bracket to `list`,
 * which has space for the smaller of n and `list_max` + MAGNITUDE_SCAN_TILE elements, and
 * MAGNITUDE_SCAN_PADDING more. Returns the number of listed elements. A tile is listed completely,
 * or not at all once more than `list_max` elements are inside. */
size_t magnitude_scan_list_in_bracket(const float *x, size_t n, magnitude low, magnitude high,
                                      size_t list_max, struct magnitude_counts *counts,
                                      struct magnitude_candidates list);
/* The shift for which MAGNITUDE_SCAN_BINS bins of 2^shift magnitudes cover low..high. */
unsigned magnitude_scan_bin_shift(magnitude low, magnitude high);
/* Counts the magnitudes of low..high in bins[MAGNITUDE_SCAN_BINS + 1], whose last bin is for all
 * others, and returns how many are larger than high. */
uint64_t magnitude_scan_histogram(const float *x, size_t n, magnitude low, magnitude high,
                                  uint32_t *bins);
/* Index of the rank-th element (from 1) of magnitude `bits`; n if there are fewer. */
size_t magnitude_scan_find_equal(const float *x, size_t n, magnitude bits, uint64_t rank);
/* The rank-th largest (from 1) of n magnitudes, which lie in low < m <= high. */
struct magnitude_order_statistic magnitude_scan_nth_largest(const magnitude *m, size_t n,
                                                            magnitude low, magnitude high,
                                                            uint64_t rank);

#endif
