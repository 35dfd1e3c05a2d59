/* LayerNorm (Ba et al. 2016, arXiv 1607.06450) of vision towers and projectors, forward and as far
 * as a projector needs it backward:
 *
 *     y = (x - mean) r g + b,  r = 1 / sqrt(variance + eps)
 *
 * over each of T tokens. No I/O, no allocation. Shapes: x, y (T, d), g, b (d); dy like y. */
#ifndef TV_LAYERNORM_H
#define TV_LAYERNORM_H

#include <stddef.h>

/* y may be x. */
void layernorm_forward(const float *x, const float *g, const float *b, float eps, size_t T,
                       size_t d, float *y);
/* Each token's contribution to the gradient of g, to dgain (T, d); dg is their sum. dgain may be
 * dy. */
void layernorm_backward_gain(const float *dy, const float *x, float eps, size_t T, size_t d,
                             float *dgain);

#endif
