/* Comparing two arrays element by element. Elements of different dtypes are compared as F64;
 * elements that are not numbers (F8, F4, ...) are compared byte by byte. No allocation, no
 * globals. */
#ifndef TV_ELEMENT_DIFF_H
#define TV_ELEMENT_DIFF_H

#include "dtype.h"

#include <stdint.h>

#define ELEMENT_DIFF_TILE 1024

/* Counts and sums over all pairs compared so far; starts zeroed. Equal numbers, equal infinities
 * and two NaNs are equal. */
struct element_diff {
    uint64_t elements;
    uint64_t unequal, beyond_tolerance;
    uint64_t nonfinite_a, nonfinite_b;
    double max_abs_difference;        /* infinity if a NaN, infinity or byte differs */
    double dot, squares_a, squares_b; /* sums a b, a^2, b^2 over the pairs that are finite */
};

/* True if elements of these dtypes can be compared. */
bool element_diff_can_compare(enum dtype a, enum dtype b);
/* Adds n <= ELEMENT_DIFF_TILE pairs of elements; a pair is beyond the tolerance if
 * |a - b| > allowed. Elements of less than a byte have the same dtype and fill whole bytes. */
void element_diff_add_tile(struct element_diff *d, enum dtype type_a, const void *a,
                           enum dtype type_b, const void *b, size_t n, double allowed);
/* Adds the counts and sums of `from` to `to`. */
void element_diff_accumulate(const struct element_diff *from, struct element_diff *to);
/* dot / sqrt(squares_a squares_b); NaN if one of the arrays is 0. */
double element_diff_cosine(const struct element_diff *d);
/* The largest magnitude of n <= ELEMENT_DIFF_TILE elements, or `most` if that is larger. Ignores
 * NaN, infinity and elements that are not numbers. */
double element_diff_max_magnitude(enum dtype type, const void *x, size_t n, double most);

#endif
