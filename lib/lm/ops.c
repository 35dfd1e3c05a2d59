#include "ops.h"

#include "gemm.h"
#include "kern.h"
#include "softmax.h"

#include <math.h>
#include <string.h>

#define WORTH (1 << 15) /* elements from which on a loop is worth several threads */
#define TILE  4096

/* ---- rmsnorm --------------------------------------------------------------------------------- */

TV_CLONES static void scale_by(const float *x, const float *g, float r, size_t d, float *y)
{
    for (size_t i = 0; i < d; i++)
        y[i] = x[i] * r * g[i];
}

void rmsnorm_forward(const float *x, const float *g, float eps, size_t T, size_t d, float *y,
                     float *r)
{
#pragma omp parallel for num_threads(gemm_threads()) if (T * d > WORTH)
    for (size_t t = 0; t < T; t++) {
        double mean = kern_sum_squares(x + t * d, d) / (double)d;
        r[t] = (float)(1 / sqrt(mean + (double)eps));
        scale_by(x + t * d, g, r[t], d, y + t * d);
    }
}

/* sum_i dy_i g_i x_i */
TV_CLONES static double triple_dot(const float *dy, const float *g, const float *x, size_t d)
{
    double sums[KERN_LANES] = {0};
    size_t i = 0;
    for (; i + KERN_LANES <= d; i += KERN_LANES)
        for (size_t j = 0; j < KERN_LANES; j++)
            sums[j] += (double)(dy[i + j] * g[i + j]) * (double)x[i + j];
    for (; i < d; i++)
        sums[0] += (double)(dy[i] * g[i]) * (double)x[i];
    for (size_t j = 1; j < KERN_LANES; j++)
        sums[0] += sums[j];
    return sums[0];
}

TV_CLONES static void add_norm_gradient(const float *dy, const float *g, const float *x, float r,
                                        float back, size_t d, float *dx)
{
    for (size_t i = 0; i < d; i++)
        dx[i] += r * (dy[i] * g[i] - x[i] * back);
}

/* y = x r g. With u = dy g and n = x r: dx = r (u - n mean(u n)), for r falls as x grows. */
void rmsnorm_backward(const float *dy, const float *x, const float *g, const float *r, size_t T,
                      size_t d, float *dx)
{
#pragma omp parallel for num_threads(gemm_threads()) if (T * d > WORTH)
    for (size_t t = 0; t < T; t++) {
        double mean = triple_dot(dy + t * d, g, x + t * d, d) / (double)d;
        float back = (float)(mean * (double)r[t] * (double)r[t]);
        add_norm_gradient(dy + t * d, g, x + t * d, r[t], back, d, dx + t * d);
    }
}

/* y = x r g: dg = sum_t dy x r */
void rmsnorm_backward_gain(const float *dy, const float *x, const float *r, size_t T, size_t d,
                           float *dgain)
{
#pragma omp parallel for num_threads(gemm_threads()) if (T * d > WORTH)
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < d; i++)
            dgain[t * d + i] = dy[t * d + i] * x[t * d + i] * r[t];
}

/* ---- linear ---------------------------------------------------------------------------------- */

void linear_forward(const float *x, const float *W, const float *b, size_t T, size_t in, size_t out,
                    float *y)
{
    for (size_t t = 0; b && t < T; t++)
        memcpy(y + t * out, b, out * sizeof *y);
    gemm_nt(T, out, in, 1, x, in, W, in, b ? 1 : 0, y, out);
}

/* y = x W^T + b: dx = dy W */
void linear_backward(const float *dy, const float *W, size_t T, size_t in, size_t out, float *dx,
                     int adds)
{
    gemm_nn(T, in, out, 1, dy, out, W, in, adds ? 1 : 0, dx, in);
}

/* y = x W^T + b: dW = dy^T x */
void linear_backward_rows(const float *dy, const float *x, size_t T, size_t in, size_t out,
                          size_t first, size_t n, float *dW)
{
    gemm_tn(n, in, T, 1, dy + first, out, x, in, 0, dW, in);
}

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

/* ---- swiglu ---------------------------------------------------------------------------------- */

TV_INLINE float sigmoid(float x)
{
    return 1 / (1 + softmax_exp(-x < 88 ? -x : 88));
}

TV_CLONES static void swiglu_tile(const float *g, const float *u, size_t n, float *z)
{
    for (size_t i = 0; i < n; i++)
        z[i] = g[i] * sigmoid(g[i]) * u[i];
}

void swiglu_forward(const float *g, const float *u, size_t n, float *z)
{
#pragma omp parallel for num_threads(gemm_threads()) if (n > WORTH)
    for (size_t i = 0; i < n; i += TILE)
        swiglu_tile(g + i, u + i, n - i < TILE ? n - i : TILE, z + i);
}

/* z = g s u with s = sigmoid(g): du = dz g s; dg = dz u (s + g s (1 - s)) */
TV_CLONES static void swiglu_tile_backward(const float *dz, float *g, float *u, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float s = sigmoid(g[i]), silu = g[i] * s;
        float dg = dz[i] * u[i] * (s + silu * (1 - s));
        u[i] = dz[i] * silu;
        g[i] = dg;
    }
}

void swiglu_backward(const float *dz, float *g, float *u, size_t n)
{
#pragma omp parallel for num_threads(gemm_threads()) if (n > WORTH)
    for (size_t i = 0; i < n; i += TILE)
        swiglu_tile_backward(dz + i, g + i, u + i, n - i < TILE ? n - i : TILE);
}

void residual_add(const float *x, size_t n, float *y)
{
#pragma omp parallel for num_threads(gemm_threads()) if (n > 8 * WORTH)
    for (size_t i = 0; i < n; i += TILE)
        kern_add(y + i, x + i, y + i, n - i < TILE ? n - i : TILE);
}

/* ---- cross entropy --------------------------------------------------------------------------- */

void crossentropy_forward(float *z, const uint32_t *targets, size_t T, size_t V, double *loss)
{
#pragma omp parallel for num_threads(gemm_threads()) if (T * V > WORTH)
    for (size_t t = 0; t < T; t++) {
        double right = (double)z[t * V + targets[t]];
        loss[t] = softmax_row(z + t * V, V, 1) - right;
    }
}

void crossentropy_backward(float *p, const uint32_t *targets, size_t T, size_t V, float scale)
{
#pragma omp parallel for num_threads(gemm_threads()) if (T * V > WORTH)
    for (size_t t = 0; t < T; t++) {
        p[t * V + targets[t]] -= 1;
        for (size_t v = 0; v < V; v++)
            p[t * V + v] *= scale;
    }
}

/* -sum_v q_v ln p_v = ln sum_v exp(z_v / theta) - sum_v q_v z_v / theta, both counted from the
 * largest z: they may be large and nearly equal, and q adds up to 1 only nearly. */
static double softcross_row(float *z, float *y, float theta, size_t V)
{
    float most = softmax_max(z, V), scale = 1 / theta;
    softmax_row(y, V, scale);
    double below = 0;
    for (size_t v = 0; v < V; v++)
        below += (double)y[v] * ((double)most - (double)z[v]);
    return softmax_row(z, V, scale) - (double)(scale * most) + below / (double)theta;
}

void softcross_forward(float *z, float *y, float theta, size_t T, size_t V, double *loss)
{
#pragma omp parallel for num_threads(gemm_threads()) if (T * V > WORTH)
    for (size_t t = 0; t < T; t++)
        loss[t] = softcross_row(z + t * V, y + t * V, theta, V);
}

void softcross_backward(float *p, const float *q, size_t T, size_t V, float scale)
{
#pragma omp parallel for num_threads(gemm_threads()) if (T * V > WORTH)
    for (size_t t = 0; t < T; t++)
        for (size_t v = 0; v < V; v++)
            p[t * V + v] = scale * (p[t * V + v] - q[t * V + v]);
}
