/* Arithmetic on float vectors: differences, sums, masks, sign election and weighted sums of K
 * vectors. No I/O, no allocation, no globals.
 *
 * Sums over a vector are the same bytes on every processor: they are computed in double over tiles
 * of 4096 elements, each with 16 partial sums (element i is added to sum i mod 16), which are added
 * pairwise at the end of the tile; the tiles are added in order. */
#ifndef TV_VECTOR_MATH_H
#define TV_VECTOR_MATH_H

#include <stddef.h>

#define VECTOR_MATH_TILE  4096
#define VECTOR_MATH_LANES 16

/* y = x - b, n elements */
void vector_math_subtract(const float *x, const float *b, float *y, size_t n);
/* y = x + b */
void vector_math_add(const float *x, const float *b, float *y, size_t n);
/* x = (float)(factor * x), with the product in double */
void vector_math_scale(float *x, double factor, size_t n);
size_t vector_math_count_zeros(const float *x, size_t n);
double vector_math_sum_abs(const float *x, size_t n);
/* The same of the elements whose bit is set (bitmask.h). */
double vector_math_sum_abs_marked(const float *x, const unsigned char *bits, size_t n);
double vector_math_sum_squares(const float *x, size_t n);
/* x may be y: then it is the sum of squares, without converting each number twice. */
double vector_math_dot(const float *x, const float *y, size_t n);
/* The inner products of K vectors over n elements from `first` on, as vector_math_dot computes
 * them: <x[j], x[k]>, k <= j, is dots[j (j + 1) / 2 + k]. */
void vector_math_gram(float *const *x, size_t K, size_t first, size_t n, double *dots);

/* Sign election (TIES, arXiv 2306.01708, section 3) over x (K, n): the elected sign s_i is +1 if
 * sum_k w[k] x[k][i] >= 0 (in double), else -1. Replaces x[k][i] by +0 unless w[k] x[k][i] has the
 * sign s_i; a product of 0 has no sign. */
void vector_math_elect_signs_and_zero_others(float *const *x, const double *w, size_t K, size_t n);
/* y_i = (sum_k w[k] x[k][i]) / divisor, in double. y may be x[0]. */
void vector_math_weighted_sum(float *const *x, const double *w, size_t K, double divisor, float *y,
                              size_t n);
/* The disjoint mean of TIES: y_i = (sum_k w[k] x[k][i]) / D_i, where D_i is the sum of w[k] over
 * the k with x[k][i] != 0. If floor is 0, a divisor with |D_i| < 1e-8 is replaced by 1; if floor >
 * 0, D_i is replaced by max(D_i, floor). */
void vector_math_disjoint_mean(float *const *x, const double *w, size_t K, double floor, float *y,
                               size_t n);

#endif
