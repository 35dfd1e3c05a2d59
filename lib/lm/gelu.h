/* GELU (Hendrycks & Gimpel 2016, arXiv 1606.08415) of vision towers and projectors:
 *
 *     y = x Phi(x),  Phi(x) = (1 + erf(x / sqrt 2)) / 2
 *
 * and the approximation x sigmoid(1.702 x), over T tokens of d values. No I/O, no allocation. */
#ifndef TV_GELU_H
#define TV_GELU_H

#include <stddef.h>

/* x, y (T, d); y may be x. */
void gelu_forward(const float *x, size_t T, size_t d, float *y);
/* x becomes dx. */
void gelu_backward(const float *dy, size_t T, size_t d, float *x);

/* x = x sigmoid(1.702 x), in place. It has no backward pass: the vision tower is not learned. */
void gelu_quick_forward(float *x, size_t T, size_t d);

#endif
