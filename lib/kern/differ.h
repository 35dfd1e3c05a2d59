/* How far two arrays of any dtypes lie apart. Numbers of different dtypes are compared in F64;
 * what is not made of numbers (F8, F4, ...) byte by byte. No allocation, no globals. */
#ifndef TV_DIFFER_H
#define TV_DIFFER_H

#include "dtype.h"

#include <stdint.h>

#define DIFFER_TILE 1024

/* Sums over the elements seen so far. Equal numbers, equal infinities and two NaNs are equal. */
struct differ {
    uint64_t elements;
    uint64_t unequal, beyond; /* and further apart than was allowed */
    uint64_t nonfinite_a, nonfinite_b;
    double max_abs;                   /* infinite where a number stands against none */
    double dot, squares_a, squares_b; /* of pairs that are finite */
};

/* Can they be compared? */
bool differ_comparable(enum dtype a, enum dtype b);
/* Adds n <= DIFFER_TILE elements, of whole bytes or of the same dtype. */
void differ_look(struct differ *d, enum dtype type_a, const void *a, enum dtype type_b,
                 const void *b, size_t n, double allowed);
void differ_add(const struct differ *from, struct differ *to);
/* NAN if one of the arrays is 0. */
double differ_cosine(const struct differ *d);
/* Largest magnitude of n <= DIFFER_TILE elements, or `most` if that is larger; what is not finite
 * or no number does not count. */
double differ_magnitude(enum dtype type, const void *x, size_t n, double most);

#endif
