#include "cross_entropy.h"

#include "explog.h"
#include "gemm.h"
#include "vector_math.h"
#include "softmax.h"
#include "parallel_for.h"

#include <math.h>
#include <string.h>

#define TILE 4096

/* Loops over single elements go by tiles. */
static size_t tiles_of(size_t n)
{
    return (n + TILE - 1) / TILE;
}

static size_t tile_size(size_t n, size_t tile)
{
    return n - tile * TILE < TILE ? n - tile * TILE : TILE;
}

/* ---- rmsnorm --------------------------------------------------------------------------------- */

TV_CLONES static void scale_by(const float *x, const float *g, float r, size_t d, float *y)
{
    for (size_t i = 0; i < d; i++)
        y[i] = x[i] * r * g[i];
}

/* What the three functions have in common; `scale` is r. */
struct norm {
    const float *dy, *x, *g, *r;
    float eps;
    size_t d;
    float *to, *scale;
};

static void normalise_token(void *context, size_t t, size_t member)
{
    const struct norm *n = context;
    const float *x = n->x + t * n->d;
    double mean = vector_math_sum_squares(x, n->d) / (double)n->d;
    n->scale[t] = (float)(1 / sqrt(mean + (double)n->eps));
    scale_by(x, n->g, n->scale[t], n->d, n->to + t * n->d);
}

void rmsnorm_forward(const float *x, const float *g, float eps, size_t T, size_t d, float *y,
                     float *r)
{
    parallel_for(T, d, normalise_token,
                 &(struct norm){.x = x, .g = g, .eps = eps, .d = d, .to = y, .scale = r});
}

/* sum_i dy_i g_i x_i */
TV_CLONES static double triple_dot(const float *dy, const float *g, const float *x, size_t d)
{
    double sums[VECTOR_MATH_LANES] = {0};
    size_t i = 0;
    for (; i + VECTOR_MATH_LANES <= d; i += VECTOR_MATH_LANES)
        for (size_t j = 0; j < VECTOR_MATH_LANES; j++)
            sums[j] += (double)(dy[i + j] * g[i + j]) * (double)x[i + j];
    for (; i < d; i++)
        sums[0] += (double)(dy[i] * g[i]) * (double)x[i];
    for (size_t j = 1; j < VECTOR_MATH_LANES; j++)
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
static void denormalise_token(void *context, size_t t, size_t member)
{
    const struct norm *n = context;
    const float *dy = n->dy + t * n->d, *x = n->x + t * n->d;
    double mean = triple_dot(dy, n->g, x, n->d) / (double)n->d, r = (double)n->r[t];
    add_norm_gradient(dy, n->g, x, n->r[t], (float)(mean * r * r), n->d, n->to + t * n->d);
}

void rmsnorm_backward(const float *dy, const float *x, const float *g, const float *r, size_t T,
                      size_t d, float *dx)
{
    parallel_for(T, d, denormalise_token,
                 &(struct norm){.dy = dy, .x = x, .g = g, .r = r, .d = d, .to = dx});
}

/* y = x r g: dg = sum_t dy x r */
static void gain_of_token(void *context, size_t t, size_t member)
{
    const struct norm *n = context;
    for (size_t i = t * n->d; i < (t + 1) * n->d; i++)
        n->to[i] = n->dy[i] * n->x[i] * n->r[t];
}

void rmsnorm_backward_gain(const float *dy, const float *x, const float *r, size_t T, size_t d,
                           float *dgain)
{
    parallel_for(T, d, gain_of_token,
                 &(struct norm){.dy = dy, .x = x, .r = r, .d = d, .to = dgain});
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

TV_CLONES static void swiglu_tile(const float *g, const float *u, size_t n, float *z)
{
    for (size_t i = 0; i < n; i++)
        z[i] = g[i] * explog_sigmoid_float(g[i]) * u[i];
}

struct swiglu {
    const float *dz, *g, *u;
    size_t n;
    float *z, *dg, *du;
};

static void swiglu_part(void *context, size_t tile, size_t member)
{
    const struct swiglu *s = context;
    size_t i = tile * TILE;
    swiglu_tile(s->g + i, s->u + i, tile_size(s->n, tile), s->z + i);
}

void swiglu_forward(const float *g, const float *u, size_t n, float *z)
{
    parallel_for(tiles_of(n), TILE, swiglu_part, &(struct swiglu){.g = g, .u = u, .n = n, .z = z});
}

/* z = g s u with s = sigmoid(g): du = dz g s; dg = dz u (s + g s (1 - s)) */
TV_CLONES static void swiglu_tile_backward(const float *dz, float *g, float *u, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float s = explog_sigmoid_float(g[i]), silu = g[i] * s;
        float dg = dz[i] * u[i] * (s + silu * (1 - s));
        u[i] = dz[i] * silu;
        g[i] = dg;
    }
}

static void swiglu_part_backward(void *context, size_t tile, size_t member)
{
    const struct swiglu *s = context;
    size_t i = tile * TILE;
    swiglu_tile_backward(s->dz + i, s->dg + i, s->du + i, tile_size(s->n, tile));
}

void swiglu_backward(const float *dz, float *g, float *u, size_t n)
{
    parallel_for(tiles_of(n), TILE, swiglu_part_backward,
                 &(struct swiglu){.dz = dz, .n = n, .dg = g, .du = u});
}

struct sum {
    const float *x;
    size_t n;
    float *y;
};

static void add_part(void *context, size_t tile, size_t member)
{
    const struct sum *s = context;
    size_t i = tile * TILE;
    vector_math_add(s->y + i, s->x + i, s->y + i, tile_size(s->n, tile));
}

void residual_add(const float *x, size_t n, float *y)
{
    parallel_for(tiles_of(n), TILE, add_part, &(struct sum){x, n, y});
}

/* ---- cross entropy --------------------------------------------------------------------------- */

/* Of either loss; `z` becomes p or dz, `y` becomes q. */
struct losses {
    float *z, *y;
    const float *q;
    const uint32_t *targets;
    size_t V;
    float theta, scale;
    double *loss;
};

static void crossentropy_token(void *context, size_t t, size_t member)
{
    const struct losses *l = context;
    float *z = l->z + t * l->V;
    double right = (double)z[l->targets[t]];
    l->loss[t] = softmax_row(z, l->V, 1) - right;
}

void cross_entropy_forward(float *z, const uint32_t *targets, size_t T, size_t V, double *loss)
{
    parallel_for(T, V, crossentropy_token,
                 &(struct losses){.z = z, .targets = targets, .V = V, .loss = loss});
}

/* -sum_v q_v ln p_v = ln sum_v exp(z_v / theta) - sum_v q_v z_v / theta, both counted from the
 * largest z: they may be large and nearly equal, and q adds up to 1 only nearly. */
static double softcross_row(float *z, float *y, float theta, size_t V)
{
    float most = softmax_row_max(z, V), scale = 1 / theta;
    softmax_row(y, V, scale);
    double below = 0;
    for (size_t v = 0; v < V; v++)
        below += (double)y[v] * ((double)most - (double)z[v]);
    return softmax_row(z, V, scale) - (double)(scale * most) + below / (double)theta;
}

static void softcross_token(void *context, size_t t, size_t member)
{
    const struct losses *l = context;
    l->loss[t] = softcross_row(l->z + t * l->V, l->y + t * l->V, l->theta, l->V);
}

void cross_entropy_soft_forward(float *z, float *y, float theta, size_t T, size_t V, double *loss)
{
    parallel_for(T, V, softcross_token,
                 &(struct losses){.z = z, .y = y, .theta = theta, .V = V, .loss = loss});
}

static void softcross_token_backward(void *context, size_t t, size_t member)
{
    const struct losses *l = context;
    for (size_t i = t * l->V; i < (t + 1) * l->V; i++)
        l->z[i] = l->scale * (l->z[i] - l->q[i]);
}

void cross_entropy_soft_backward(float *p, const float *q, size_t T, size_t V, float scale)
{
    parallel_for(T, V, softcross_token_backward,
                 &(struct losses){.z = p, .q = q, .V = V, .scale = scale});
}
