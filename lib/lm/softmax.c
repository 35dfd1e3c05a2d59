#include "softmax.h"

#include "explog.h"
#include "simd.h"

#include <math.h>

#define LANES 16

TV_CLONES float softmax_row_max(const float *x, size_t n)
{
    float max[LANES];
    size_t i = 0;
    for (size_t j = 0; j < LANES; j++)
        max[j] = x[0];
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            max[j] = x[i + j] > max[j] ? x[i + j] : max[j];
    for (; i < n; i++)
        max[0] = x[i] > max[0] ? x[i] : max[0];
    for (size_t j = 1; j < LANES; j++)
        max[0] = max[j] > max[0] ? max[j] : max[0];
    return max[0];
}

/* x = exp(scale x - shift); returns the sum. */
TV_CLONES static double exponentials_and_sum(float *x, size_t n, float scale, float shift)
{
    double sums[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) {
            x[i + j] = explog_exp_float(scale * x[i + j] - shift);
            sums[j] += (double)x[i + j];
        }
    for (; i < n; i++) {
        x[i] = explog_exp_float(scale * x[i] - shift);
        sums[0] += (double)x[i];
    }
    for (size_t j = 1; j < LANES; j++)
        sums[0] += sums[j];
    return sums[0];
}

TV_CLONES static void scale_row(float *x, size_t n, float factor)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= factor;
}

double softmax_row(float *x, size_t n, float scale)
{
    float shift = scale * softmax_row_max(x, n);
    double sum = exponentials_and_sum(x, n, scale, shift);
    scale_row(x, n, (float)(1 / sum));
    return (double)shift + log(sum);
}

void softmax_row_from_log_sum(float *x, size_t n, float log_sum)
{
    exponentials_and_sum(x, n, 1, log_sum);
}
