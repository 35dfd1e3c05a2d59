/* exp and log for loops, with the same bytes on every processor (libm chooses code by processor).
 * The error is at most two units in the last place. exp(x) = 2^k exp(r), where x = k ln 2 + r with
 * |r| <= ln 2 / 2, and exp(r) = 1 + r + r^2/2! + ... No allocation, no globals. */
#ifndef TV_EXPLOG_H
#define TV_EXPLOG_H

#include "simd.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* y = exp(x), n elements; x may be y. x <= 709; the result is 0 for x <= -708. */
void explog_exp(const double *x, double *y, size_t n);
/* y = ln(x), n elements; x may be y. x must be positive, finite and not subnormal. */
void explog_log(const double *x, double *y, size_t n);

/* exp(x) in F32, for one element inside a loop. x <= 88; the result is 0 for x <= -87. */
TV_INLINE float explog_exp_float(float x)
{
    float clamped = x > -87 ? x : -87;
    float shifted = clamped * 0x1.715476p+0f + 0x1.8p23f; /* rounds to an integer */
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
    memcpy(&bits, &shifted, sizeof bits); /* the lowest bits are k */
    uint32_t power = (bits << 23) + 0x3F800000;
    float scale;
    memcpy(&scale, &power, sizeof scale);
    return x > -87 ? p * scale : 0;
}

/* 1 / (1 + exp(-x)) in F32, for one element inside a loop. */
TV_INLINE float explog_sigmoid_float(float x)
{
    return 1 / (1 + explog_exp_float(-x < 88 ? -x : 88));
}

#endif
