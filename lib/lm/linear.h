/* The linear map y = x W^T + b over T tokens, forward and backward. No I/O, no allocation.
 * Shapes: x (T, in), W (out, in), b (out), y (T, out); dx, dW, db, dy like x, W, b, y. */
#ifndef TV_LINEAR_H
#define TV_LINEAR_H

#include <stddef.h>

/* y = x W^T + b;  b may be NULL. */
void linear_forward(const float *x, const float *W, const float *b, size_t T, size_t in, size_t out,
                    float *y);
/* dx = dy W;  with `add` it is added to dx. */
void linear_backward(const float *dy, const float *W, size_t T, size_t in, size_t out, float *dx,
                     int add);
/* Rows first .. first + n - 1 of dW = dy^T x, to dW (n, in). */
void linear_backward_rows(const float *dy, const float *x, size_t T, size_t in, size_t out,
                          size_t first, size_t n, float *dW);
/* Elements first .. first + n - 1 of db = sum_t dy_t, to db (n). */
void linear_backward_bias(const float *dy, size_t T, size_t out, size_t first, size_t n, float *db);

#endif
