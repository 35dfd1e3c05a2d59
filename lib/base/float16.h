/* Conversions of one float16 number, for loops over blocks that contain a few of them. Arrays are
 * converted by dtype.h. */
#ifndef TV_FLOAT16_H
#define TV_FLOAT16_H

#include "simd.h"

#include <stdint.h>
#include <string.h>

/* Bits of sign, exponent and mantissa: F32 1, 8 (bias 127), 23; F16 1, 5 (bias 15), 10. Each
 * conversion computes all cases and selects one, so that loops have no branches. */

TV_INLINE uint32_t float16_bits_of_float(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

TV_INLINE float float16_float_from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

TV_INLINE float float16_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, a = h & 0x7FFF;
    uint32_t subnormal = float16_bits_of_float((float)(int32_t)a * 0x1p-24f);
    uint32_t normal = (a << 13) + (112u << 23); /* changes the exponent's bias */
    uint32_t special = normal + (112u << 23);   /* infinity, NaN: all exponent bits are 1 */
    uint32_t u = a < 0x400 ? subnormal : a < 0x7C00 ? normal : special;
    return float16_float_from_bits(sign | u);
}

/* Rounds to nearest even; overflow gives infinity. */
TV_INLINE uint16_t float16_from_float(float x)
{
    uint32_t u = float16_bits_of_float(x), sign = u >> 16 & 0x8000, a = u & 0x7FFFFFFF;
    /* 0.5f has the same unit in the last place as F16's subnormals, so the addition rounds. */
    uint32_t subnormal = float16_bits_of_float(float16_float_from_bits(a) + 0.5f) - 0x3F000000;
    /* Adds half a unit minus one, plus one if the last bit is odd; a carry increments the exponent.
     */
    uint32_t normal = (a - (112u << 23) + 0xFFF + (a >> 13 & 1)) >> 13;
    uint32_t h = a < 0x38800000 ? subnormal : a < 0x477FF000 ? normal : 0x7C00;
    return (uint16_t)(sign | (a > 0x7F800000 ? 0x7E00 : h));
}

#endif
