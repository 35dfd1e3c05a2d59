#include "rmsnorm.h"

#include "parallel_for.h"
#include "simd.h"
#include "vector_math.h"

#include <math.h>

/* The arguments of a loop over tokens. */
struct rmsnorm {
    const float *x, *g, *dy, *r;
    float eps;
    size_t d;
    float *y, *r_out, *dx, *dgain;
};

/* ---- y = x r g ------------------------------------------------------------------------------- */

TV_CLONES static void rmsnorm_forward_row(const float *x, const float *g, float r, size_t d,
                                          float *y)
{
    for (size_t i = 0; i < d; i++)
        y[i] = x[i] * r * g[i];
}

static void rmsnorm_forward_token(void *context, size_t t, size_t thread)
{
    const struct rmsnorm *n = context;
    const float *x = n->x + t * n->d;
    double mean_square = vector_math_sum_squares(x, n->d) / (double)n->d;
    n->r_out[t] = (float)(1 / sqrt(mean_square + (double)n->eps));
    rmsnorm_forward_row(x, n->g, n->r_out[t], n->d, n->y + t * n->d);
}

void rmsnorm_forward(const float *x, const float *g, float eps, size_t T, size_t d, float *y,
                     float *r)
{
    parallel_for(T, d, rmsnorm_forward_token,
                 &(struct rmsnorm){.x = x, .g = g, .eps = eps, .d = d, .y = y, .r_out = r});
}

/* ---- dx -------------------------------------------------------------------------------------- */

/* sum_i dy_i g_i x_i */
TV_CLONES static double dot_of_three(const float *dy, const float *g, const float *x, size_t d)
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

/* Adds to dx. `shared` = r^2 mean(dy g x). */
TV_CLONES static void rmsnorm_backward_row(const float *dy, const float *g, const float *x, float r,
                                           float shared, size_t d, float *dx)
{
    for (size_t i = 0; i < d; i++)
        dx[i] += r * (dy[i] * g[i] - x[i] * shared);
}

/* y = x r g: with u = dy g and n = x r, dx += r (u - n mean(u n)); the second term is r's own
 * derivative. */
static void rmsnorm_backward_token(void *context, size_t t, size_t thread)
{
    const struct rmsnorm *n = context;
    const float *dy = n->dy + t * n->d, *x = n->x + t * n->d;
    double mean = dot_of_three(dy, n->g, x, n->d) / (double)n->d, r = (double)n->r[t];
    rmsnorm_backward_row(dy, n->g, x, n->r[t], (float)(mean * r * r), n->d, n->dx + t * n->d);
}

void rmsnorm_backward(const float *dy, const float *x, const float *g, const float *r, size_t T,
                      size_t d, float *dx)
{
    parallel_for(T, d, rmsnorm_backward_token,
                 &(struct rmsnorm){.dy = dy, .x = x, .g = g, .r = r, .d = d, .dx = dx});
}

/* ---- dg -------------------------------------------------------------------------------------- */

/* y = x r g: dg = sum_t dy x r */
static void rmsnorm_backward_gain_token(void *context, size_t t, size_t thread)
{
    const struct rmsnorm *n = context;
    for (size_t i = t * n->d; i < (t + 1) * n->d; i++)
        n->dgain[i] = n->dy[i] * n->x[i] * n->r[t];
}

void rmsnorm_backward_gain(const float *dy, const float *x, const float *r, size_t T, size_t d,
                           float *dgain)
{
    parallel_for(T, d, rmsnorm_backward_gain_token,
                 &(struct rmsnorm){.dy = dy, .x = x, .r = r, .d = d, .dgain = dgain});
}
