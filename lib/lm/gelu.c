#include "gelu.h"

#include "explog.h"
#include "parallel_for.h"

/* The arguments of a loop over tokens. */
struct gelu {
    const float *x, *dy;
    size_t d;
    float *y; /* or x, which becomes y or dx */
};

/* Phi(x), and exp(-x^2 / 2) in *bell. The approximation of erfc is Abramowitz and Stegun's 7.1.26,
 * with an error below 1.5e-7; with libm's erf, GELU would take most of a vision tower's time. */
TV_INLINE float normal_cdf(float x, float *bell)
{
    float z = (x < 0 ? -x : x) * 0.70710678f, t = 1 / (1 + 0.3275911f * z);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    *bell = explog_exp_float(-z * z);
    float tail = 0.5f * p * t * *bell;
    return x < 0 ? tail : 1 - tail;
}

/* ---- y = x Phi(x) ---------------------------------------------------------------------------- */

TV_CLONES static void gelu_forward_row(const float *x, size_t d, float *y)
{
    float bell;
    for (size_t i = 0; i < d; i++)
        y[i] = x[i] * normal_cdf(x[i], &bell);
}

static void gelu_forward_token(void *context, size_t t, size_t thread)
{
    const struct gelu *g = context;
    gelu_forward_row(g->x + t * g->d, g->d, g->y + t * g->d);
}

void gelu_forward(const float *x, size_t T, size_t d, float *y)
{
    parallel_for(T, 8 * d, gelu_forward_token, &(struct gelu){.x = x, .d = d, .y = y});
}

/* y = x Phi(x): dx = dy (Phi(x) + x phi(x)), phi(x) = exp(-x^2 / 2) / sqrt(2 pi) */
TV_CLONES static void gelu_backward_row(const float *dy, size_t d, float *x)
{
    for (size_t i = 0; i < d; i++) {
        float bell, below = normal_cdf(x[i], &bell);
        x[i] = dy[i] * (below + x[i] * bell * 0.39894228f);
    }
}

static void gelu_backward_token(void *context, size_t t, size_t thread)
{
    const struct gelu *g = context;
    gelu_backward_row(g->dy + t * g->d, g->d, g->y + t * g->d);
}

void gelu_backward(const float *dy, size_t T, size_t d, float *x)
{
    parallel_for(T, 8 * d, gelu_backward_token, &(struct gelu){.dy = dy, .d = d, .y = x});
}

/* ---- x = x sigmoid(1.702 x) ------------------------------------------------------------------ */

TV_CLONES static void gelu_quick_forward_row(float *x, size_t d)
{
    for (size_t i = 0; i < d; i++)
        x[i] *= explog_sigmoid_float(1.702f * x[i]);
}

static void gelu_quick_forward_token(void *context, size_t t, size_t thread)
{
    const struct gelu *g = context;
    gelu_quick_forward_row(g->y + t * g->d, g->d);
}

void gelu_quick_forward(float *x, size_t T, size_t d)
{
    parallel_for(T, 8 * d, gelu_quick_forward_token, &(struct gelu){.d = d, .y = x});
}
