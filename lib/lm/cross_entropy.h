/* The operations of a decoder, each forward and backward, over plain floats: one after the other
 * they are a layer (decoder_layer.h). A backward function takes dy, the gradient of the loss by
 * what its forward function put out; where it says "adds", the gradient is added to what is there.
 * No I/O, no allocation. Letters: T tokens, d, in, out sizes, V vocabulary. */
#ifndef TV_CROSS_ENTROPY_H
#define TV_CROSS_ENTROPY_H

#include <stddef.h>
#include <stdint.h>

/* y = x r g, r = 1 / sqrt(mean x^2 + eps);  x, y (T, d), g (d), r (T) */
void rmsnorm_forward(const float *x, const float *g, float eps, size_t T, size_t d, float *y,
                     float *r);
/* Adds to dx (T, d). */
void rmsnorm_backward(const float *dy, const float *x, const float *g, const float *r, size_t T,
                      size_t d, float *dx);
/* dgain (T, d): each token's contribution to the gradient of g. May be dy. */
void rmsnorm_backward_gain(const float *dy, const float *x, const float *r, size_t T, size_t d,
                           float *dgain);

/* y = x W^T + b;  x (T, in), W (out, in), b (out) or NULL, y (T, out) */
void linear_forward(const float *x, const float *W, const float *b, size_t T, size_t in, size_t out,
                    float *y);
/* dx (T, in); `adds` 1: adds to it, 0: overwrites it. */
void linear_backward(const float *dy, const float *W, size_t T, size_t in, size_t out, float *dx,
                     int adds);
/* Rows first .. first + n - 1 of the gradient of W, dW (n, in). */
void linear_backward_rows(const float *dy, const float *x, size_t T, size_t in, size_t out,
                          size_t first, size_t n, float *dW);
/* The same of b, db (n). */
void linear_backward_bias(const float *dy, size_t T, size_t out, size_t first, size_t n, float *db);

/* z = silu(g) u, silu(g) = g / (1 + exp(-g));  n elements each */
void swiglu_forward(const float *g, const float *u, size_t n, float *z);
/* dg and du in place of g and u. */
void swiglu_backward(const float *dz, float *g, float *u, size_t n);

/* y += x, n elements: the residual stream, forward and backward. */
void residual_add(const float *x, size_t n, float *y);

/* loss_t = -ln p[t, target_t], p = softmax(z);  z (T, V), which becomes p, loss (T) */
void cross_entropy_forward(float *z, const uint32_t *targets, size_t T, size_t V, double *loss);

/* loss_t = -sum_v q[t, v] ln p[t, v], p = softmax(z / theta), q = softmax(y / theta);
 * z, y (T, V), which become p and q, loss (T) */
void cross_entropy_soft_forward(float *z, float *y, float theta, size_t T, size_t V, double *loss);
/* p becomes dz = scale (p - q). (The gradient of theta^2 loss has scale = theta.) */
void cross_entropy_soft_backward(float *p, const float *q, size_t T, size_t V, float scale);

#endif
