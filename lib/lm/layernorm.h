/* The operations that vision towers and projectors have beside a decoder's (cross_entropy.h), over
 * plain floats. The ways back are those that a projector needs: the tower is not learned. No I/O,
 * no allocation. Letters: T tokens, d numbers of each. */
#ifndef TV_LAYERNORM_H
#define TV_LAYERNORM_H

#include <stddef.h>

/* y = (x - mean) r g + b, r = 1 / sqrt(variance + eps);  x, y (T, d), g, b (d). y may be x. */
void layernorm_forward(const float *x, const float *g, const float *b, float eps, size_t T,
                       size_t d, float *y);
/* dgain (T, d): each token's contribution to the gradient of g. May be dy. */
void layernorm_backward_gain(const float *dy, const float *x, float eps, size_t T, size_t d,
                             float *dgain);

/* y = x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2;  x, y (T, d). y may be x. */
void gelu_forward(const float *x, size_t T, size_t d, float *y);
/* x becomes dx. */
void gelu_backward(const float *dy, size_t T, size_t d, float *x);
/* x = x sigmoid(1.702 x) */
void quick_gelu_forward(float *x, size_t T, size_t d);

/* y += g x, the residual stream with a layer's scale;  x, y (T, d), g (d) */
void scaled_add(const float *x, const float *g, size_t T, size_t d, float *y);

#endif
