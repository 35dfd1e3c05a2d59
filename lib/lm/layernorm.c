#include "layernorm.h"

#include "parallel_for.h"
#include "simd.h"
#include "vector_math.h"

#include <math.h>

/* The arguments of a loop over tokens. */
struct layernorm {
    const float *x, *g, *b, *dy;
    float eps;
    size_t d;
    float *y, *dgain;
};

/* ---- mean and variance ----------------------------------------------------------------------- */

/* sum_i (x_i - center)^power, power 1 or 2 */
TV_INLINE double sum_of_powers(const float *x, size_t d, double center, int power)
{
    double sums[VECTOR_MATH_LANES] = {0};
    size_t i = 0;
    for (; i + VECTOR_MATH_LANES <= d; i += VECTOR_MATH_LANES)
        for (size_t j = 0; j < VECTOR_MATH_LANES; j++) {
            double y = (double)x[i + j] - center;
            sums[j] += power == 1 ? y : y * y;
        }
    for (; i < d; i++)
        sums[0] +=
            power == 1 ? (double)x[i] - center : ((double)x[i] - center) * ((double)x[i] - center);
    for (size_t j = 1; j < VECTOR_MATH_LANES; j++)
        sums[0] += sums[j];
    return sums[0];
}

TV_CLONES static double sum_values(const float *x, size_t d)
{
    return sum_of_powers(x, d, 0, 1);
}

TV_CLONES static double sum_of_squared_deviations(const float *x, double mean, size_t d)
{
    return sum_of_powers(x, d, mean, 2);
}

static void mean_and_inverse_std(const float *x, size_t d, float eps, float *mean, float *r)
{
    double m = sum_values(x, d) / (double)d;
    *mean = (float)m;
    *r = (float)(1 / sqrt(sum_of_squared_deviations(x, m, d) / (double)d + (double)eps));
}

/* ---- y = (x - mean) r g + b ------------------------------------------------------------------ */

TV_CLONES static void layernorm_forward_row(const float *x, const float *g, const float *b,
                                            float mean, float r, size_t d, float *y)
{
    for (size_t i = 0; i < d; i++)
        y[i] = (x[i] - mean) * r * g[i] + b[i];
}

static void layernorm_forward_token(void *context, size_t t, size_t thread)
{
    const struct layernorm *n = context;
    const float *x = n->x + t * n->d;
    float mean, r;
    mean_and_inverse_std(x, n->d, n->eps, &mean, &r);
    layernorm_forward_row(x, n->g, n->b, mean, r, n->d, n->y + t * n->d);
}

void layernorm_forward(const float *x, const float *g, const float *b, float eps, size_t T,
                       size_t d, float *y)
{
    parallel_for(T, 4 * d, layernorm_forward_token,
                 &(struct layernorm){.x = x, .g = g, .b = b, .eps = eps, .d = d, .y = y});
}

/* ---- dg -------------------------------------------------------------------------------------- */

/* y = (x - mean) r g + b: dg = sum_t dy (x - mean) r */
static void layernorm_backward_gain_token(void *context, size_t t, size_t thread)
{
    const struct layernorm *n = context;
    float mean, r;
    mean_and_inverse_std(n->x + t * n->d, n->d, n->eps, &mean, &r);
    for (size_t i = t * n->d; i < (t + 1) * n->d; i++)
        n->dgain[i] = n->dy[i] * (n->x[i] - mean) * r;
}

void layernorm_backward_gain(const float *dy, const float *x, float eps, size_t T, size_t d,
                             float *dgain)
{
    parallel_for(T, 4 * d, layernorm_backward_gain_token,
                 &(struct layernorm){.dy = dy, .x = x, .eps = eps, .d = d, .dgain = dgain});
}
