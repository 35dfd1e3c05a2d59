/* Softmax and its like over rows of floats. No I/O, no allocation, no globals. */
#ifndef TV_SOFTMAX_H
#define TV_SOFTMAX_H

#include "simd.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* exp(x) within two units in the last place, for loops: x = k ln 2 + r with |r| <= ln 2 / 2, and
 * exp(x) = 2^k (1 + r + r^2/2! + ... + r^7/7!). Below exp(-87) it is 0; x <= 88. */
TV_INLINE float softmax_exp(float x)
{
    float clamped = x > -87 ? x : -87;
    float shifted = clamped * 0x1.715476p+0f + 0x1.8p23f;
    float k = shifted - 0x1.8p23f;
    float r = (clamped - k * 0x1.63p-1f) - k * -0x1.bd0106p-13f; /* ln 2 in two pieces */
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r * r + r + 1;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits); /* k stands in the lowest bits */
    uint32_t power = (bits << 23) + 0x3F800000;
    float scale;
    memcpy(&scale, &power, sizeof scale);
    return x > -87 ? p * scale : 0;
}

/* The largest of n > 0 numbers. */
float softmax_max(const float *x, size_t n);
/* x = softmax(scale x), n > 0 numbers. Returns ln sum exp(scale x). */
double softmax_row(float *x, size_t n, float scale);
/* x = exp(x - log_sum): what softmax_row made, again. */
void softmax_again(float *x, size_t n, float log_sum);

#endif
