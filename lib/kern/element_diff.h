/* How far two arrays of any dtypes lie apart. Numbers of different dtypes are compared in F64;
 * what is not made of numbers (F8, F4, ...) byte by byte. No allocation, no globals. */
#ifndef TV_ELEMENT_DIFF_H
#define TV_ELEMENT_DIFF_H

#include "dtype.h"

#include <stdint.h>

#define ELEMENT_DIFF_TILE 1024

/* Sums over the elements seen so far. Equal numbers, equal infinities and two NaNs are equal. */
struct element_diff {
    uint64_t elements;
    uint64_t unequal, beyond_tolerance; /* and further apart than was allowed */
    uint64_t nonfinite_a, nonfinite_b;
    double max_abs_difference;        /* infinite where a number stands against none */
    double dot, squares_a, squares_b; /* of pairs that are finite */
};

/* Can they be compared? */
bool element_diff_can_compare(enum dtype a, enum dtype b);
/* Adds n <= ELEMENT_DIFF_TILE elements, of whole bytes or of the same dtype. */
void element_diff_add_tile(struct element_diff *d, enum dtype type_a, const void *a,
                           enum dtype type_b, const void *b, size_t n, double allowed);
void element_diff_merge(const struct element_diff *from, struct element_diff *to);
/* NAN if one of the arrays is 0. */
double element_diff_cosine(const struct element_diff *d);
/* Largest magnitude of n <= ELEMENT_DIFF_TILE elements, or `most` if that is larger; what is not
 * finite or no number does not count. */
double element_diff_max_magnitude(enum dtype type, const void *x, size_t n, double most);

#endif
