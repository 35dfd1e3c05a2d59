/* The loops of the merge methods over plain float arrays. No I/O, no allocation, no globals.
 * Sums over an array are taken in double over tiles of 4096 elements, counted from its start,
 * each in 16 interleaved sums (element i into sum i mod 16) added pairwise at the tile's end, tiles
 * in order: the same bytes on every processor. */
#ifndef TV_VECTOR_MATH_H
#define TV_VECTOR_MATH_H

#include <stddef.h>

#define VECTOR_MATH_TILE  4096
#define VECTOR_MATH_LANES 16

/* y = (float)(x - b), n elements */
void vector_math_subtract(const float *x, const float *b, float *y, size_t n);
/* y = x + b */
void vector_math_add(const float *x, const float *b, float *y, size_t n);
/* x = (float)(factor * x), the product taken in double */
void vector_math_scale(float *x, double factor, size_t n);
double vector_math_sum_abs(const float *x, size_t n);
double vector_math_sum_squares(const float *x, size_t n);
double vector_math_dot(const float *x, const float *y, size_t n);
/* Which u_i are below `bound` (compared in double)? A bit each; writes whole bytes. */
void vector_math_mark_below(const float *u, double bound, size_t n, unsigned char *bits);
/* Zero every element whose bit is 0; dropped ones become +0. */
void vector_math_zero_unmarked(float *x, const unsigned char *bits, size_t n);

/* Sign election (TIES): s_i = +1 if sum_k w[k] x[k][i] >= 0 (in double) else -1; an element of
 * x[k] whose w[k] x[k][i] has not that sign becomes +0. A product of 0 never agrees. (K, n) */
void vector_math_elect_signs(float *const *x, const double *w, size_t K, size_t n);
/* y_i = (sum_k w[k] x[k][i]) / divisor, in double. y may be x[0]. */
void vector_math_weighted_sum(float *const *x, const double *w, size_t K, double divisor, float *y,
                              size_t n);
/* The same divided by the sum of w[k] over those k whose x[k][i] is not 0 (the disjoint mean of
 * TIES): a divisor D with |D| < 1e-8 counts as 1; with floor > 0 it is max(D, floor) instead. */
void vector_math_disjoint_mean(float *const *x, const double *w, size_t K, double floor, float *y,
                               size_t n);

#endif
