#include "layernorm.h"

#include "explog.h"
#include "vector_math.h"
#include "parallel_for.h"

#include <math.h>

/* What a loop over tokens works on. */
struct rows {
    const float *dy, *x, *g, *b;
    float eps;
    size_t d;
    float *to;
};

/* ---- layernorm ------------------------------------------------------------------------------- */

/* sum_i (x_i - centre)^power, power 1 or 2 */
TV_INLINE double sum_lanes(const float *x, size_t d, double centre, int power)
{
    double sums[VECTOR_MATH_LANES] = {0};
    size_t i = 0;
    for (; i + VECTOR_MATH_LANES <= d; i += VECTOR_MATH_LANES)
        for (size_t j = 0; j < VECTOR_MATH_LANES; j++) {
            double y = (double)x[i + j] - centre;
            sums[j] += power == 1 ? y : y * y;
        }
    for (; i < d; i++)
        sums[0] +=
            power == 1 ? (double)x[i] - centre : ((double)x[i] - centre) * ((double)x[i] - centre);
    for (size_t j = 1; j < VECTOR_MATH_LANES; j++)
        sums[0] += sums[j];
    return sums[0];
}

TV_CLONES static double sum_of(const float *x, size_t d)
{
    return sum_lanes(x, d, 0, 1);
}

TV_CLONES static double squares_about(const float *x, double mean, size_t d)
{
    return sum_lanes(x, d, mean, 2);
}

static void moments(const float *x, size_t d, float eps, float *mean, float *r)
{
    double m = sum_of(x, d) / (double)d;
    *mean = (float)m;
    *r = (float)(1 / sqrt(squares_about(x, m, d) / (double)d + (double)eps));
}

TV_CLONES static void centre_and_scale(const float *x, const float *g, const float *b, float mean,
                                       float r, size_t d, float *y)
{
    for (size_t i = 0; i < d; i++)
        y[i] = (x[i] - mean) * r * g[i] + b[i];
}

static void normalise_token(void *context, size_t t, size_t member)
{
    const struct rows *n = context;
    const float *x = n->x + t * n->d;
    float mean, r;
    moments(x, n->d, n->eps, &mean, &r);
    centre_and_scale(x, n->g, n->b, mean, r, n->d, n->to + t * n->d);
}

void layernorm_forward(const float *x, const float *g, const float *b, float eps, size_t T,
                       size_t d, float *y)
{
    parallel_for(T, 4 * d, normalise_token,
                 &(struct rows){.x = x, .g = g, .b = b, .eps = eps, .d = d, .to = y});
}

/* y = (x - mean) r g + b: dg = sum_t dy (x - mean) r */
static void gain_of_token(void *context, size_t t, size_t member)
{
    const struct rows *n = context;
    float mean, r;
    moments(n->x + t * n->d, n->d, n->eps, &mean, &r);
    for (size_t i = t * n->d; i < (t + 1) * n->d; i++)
        n->to[i] = n->dy[i] * (n->x[i] - mean) * r;
}

void layernorm_backward_gain(const float *dy, const float *x, float eps, size_t T, size_t d,
                             float *dgain)
{
    parallel_for(T, 4 * d, gain_of_token,
                 &(struct rows){.dy = dy, .x = x, .eps = eps, .d = d, .to = dgain});
}

/* ---- gelu ------------------------------------------------------------------------------------ */

/* Phi(x), and exp(-x^2 / 2) on the way. erfc by Abramowitz and Stegun, 7.1.26: the error is below
 * 1.5e-7, and libm's erf would be most of a tower's time. */
TV_INLINE float normal_distribution(float x, float *bell)
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

TV_CLONES static void gelu_row(const float *x, size_t d, float *y)
{
    float bell;
    for (size_t i = 0; i < d; i++)
        y[i] = x[i] * normal_distribution(x[i], &bell);
}

static void gelu_token(void *context, size_t t, size_t member)
{
    const struct rows *r = context;
    gelu_row(r->x + t * r->d, r->d, r->to + t * r->d);
}

void gelu_forward(const float *x, size_t T, size_t d, float *y)
{
    parallel_for(T, 8 * d, gelu_token, &(struct rows){.x = x, .d = d, .to = y});
}

/* y = x Phi(x): dx = dy (Phi(x) + x phi(x)), phi(x) = exp(-x^2 / 2) / sqrt(2 pi) */
TV_CLONES static void gelu_row_backward(const float *dy, size_t d, float *x)
{
    for (size_t i = 0; i < d; i++) {
        float bell, below = normal_distribution(x[i], &bell);
        x[i] = dy[i] * (below + x[i] * bell * 0.39894228f);
    }
}

static void gelu_token_backward(void *context, size_t t, size_t member)
{
    const struct rows *r = context;
    gelu_row_backward(r->dy + t * r->d, r->d, r->to + t * r->d);
}

void gelu_backward(const float *dy, size_t T, size_t d, float *x)
{
    parallel_for(T, 8 * d, gelu_token_backward, &(struct rows){.dy = dy, .d = d, .to = x});
}

TV_CLONES static void quick_gelu_row(float *x, size_t d)
{
    for (size_t i = 0; i < d; i++)
        x[i] *= explog_sigmoid_float(1.702f * x[i]);
}

static void quick_gelu_token(void *context, size_t t, size_t member)
{
    const struct rows *r = context;
    quick_gelu_row(r->to + t * r->d, r->d);
}

void quick_gelu_forward(float *x, size_t T, size_t d)
{
    parallel_for(T, 8 * d, quick_gelu_token, &(struct rows){.d = d, .to = x});
}

/* ---- layer scale ----------------------------------------------------------------------------- */

TV_CLONES static void add_scaled(const float *x, const float *g, size_t d, float *y)
{
    for (size_t i = 0; i < d; i++)
        y[i] += g[i] * x[i];
}

static void add_token(void *context, size_t t, size_t member)
{
    const struct rows *r = context;
    add_scaled(r->x + t * r->d, r->g, r->d, r->to + t * r->d);
}

void scaled_add(const float *x, const float *g, size_t T, size_t d, float *y)
{
    parallel_for(T, d, add_token, &(struct rows){.x = x, .g = g, .d = d, .to = y});
}
