#include "linear.h"

#include "gemm.h"

#include <string.h>

#define TILE 4096 /* elements of a bias whose sums are held at once */

void linear_forward(const float *x, const float *W, const float *b, size_t T, size_t in, size_t out,
                    float *y)
{
    for (size_t t = 0; b && t < T; t++)
        memcpy(y + t * out, b, out * sizeof *y);
    gemm_nt(T, out, in, 1, x, in, W, in, b ? 1 : 0, y, out);
}

/* y = x W^T + b: dx = dy W */
void linear_backward(const float *dy, const float *W, size_t T, size_t in, size_t out, float *dx,
                     int add)
{
    gemm_nn(T, in, out, 1, dy, out, W, in, add ? 1 : 0, dx, in);
}

/* y = x W^T + b: dW = dy^T x */
void linear_backward_rows(const float *dy, const float *x, size_t T, size_t in, size_t out,
                          size_t first, size_t n, float *dW)
{
    gemm_tn(n, in, T, 1, dy + first, out, x, in, 0, dW, in);
}

/* y = x W^T + b: db = sum_t dy_t */
void linear_backward_bias(const float *dy, size_t T, size_t out, size_t first, size_t n, float *db)
{
    double sums[TILE];
    for (size_t i = 0; i < n; i += TILE) {
        size_t m = n - i < TILE ? n - i : TILE;
        memset(sums, 0, sizeof sums);
        for (size_t t = 0; t < T; t++)
            for (size_t j = 0; j < m; j++)
                sums[j] += (double)dy[t * out + first + i + j];
        for (size_t j = 0; j < m; j++)
            db[i + j] = (float)sums[j];
    }
}
