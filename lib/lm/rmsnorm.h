/* RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467), forward and backward:
 *
 *     y = x r g,  r = 1 / sqrt(mean(x^2) + eps)
 *
 * over each of T tokens. No I/O, no allocation. Shapes: x, y (T, d), g (d), r (T); dx, dy like x,
 * y.
 */
#ifndef TV_RMSNORM_H
#define TV_RMSNORM_H

#include <stddef.h>

/* y = x r g;  y may be x. Writes r for the backward pass. */
void rmsnorm_forward(const float *x, const float *g, float eps, size_t T, size_t d, float *y,
                     float *r);
/* Adds to dx. */
void rmsnorm_backward(const float *dy, const float *x, const float *g, const float *r, size_t T,
                      size_t d, float *dx);
/* Each token's contribution to the gradient of g, to dgain (T, d); dg is their sum. dgain may be
 * dy. */
void rmsnorm_backward_gain(const float *dy, const float *x, const float *r, size_t T, size_t d,
                           float *dgain);

#endif
