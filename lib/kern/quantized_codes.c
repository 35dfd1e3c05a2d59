#include "quantized_codes.h"

#include "float16.h"
#include "simd.h"

#include <stdint.h>

/* Codes are widened in tiles first: loops over one size of integers are twice as fast. */
#define TILE 128

/* As in float16.h, all cases are computed and one is selected, so that the loops have no branches.
 */

TV_INLINE float e4m3_to_float(uint32_t code)
{
    uint32_t sign = (code & 0x80) << 24, a = code & 0x7F;
    uint32_t subnormal = float16_bits_of_float((float)(int32_t)a * 0x1p-9f);
    uint32_t normal = (a << 20) + (120u << 23); /* changes the exponent's bias */
    uint32_t u = a < 8 ? subnormal : a < 0x7F ? normal : 0x7FC00000;
    return float16_float_from_bits(sign | u);
}

/* As the upper byte of an F16. */
TV_INLINE float e5m2_to_float(uint32_t code)
{
    uint32_t sign = (code & 0x80) << 24, a = code & 0x7F;
    uint32_t subnormal = float16_bits_of_float((float)(int32_t)a * 0x1p-16f);
    uint32_t normal = (a << 21) + (112u << 23);
    uint32_t special = normal + (112u << 23); /* infinity, NaN: all exponent bits are 1 */
    uint32_t u = a < 4 ? subnormal : a < 0x7C ? normal : special;
    return float16_float_from_bits(sign | u);
}

TV_INLINE void decode_codes(float decode(uint32_t), const uint8_t *restrict codes, float scale,
                            float *restrict to, size_t n)
{
    uint32_t wide[TILE];
    for (size_t i = 0; i < n; i += TILE) {
        size_t m = n - i < TILE ? n - i : TILE;
        for (size_t j = 0; j < m; j++)
            wide[j] = codes[i + j];
        for (size_t j = 0; j < m; j++)
            to[i + j] = decode(wide[j]) * scale;
    }
}

TV_CLONES static void e4m3_to_f32(const uint8_t *restrict codes, float scale, float *restrict to,
                                  size_t n)
{
    decode_codes(e4m3_to_float, codes, scale, to, n);
}

TV_CLONES static void e5m2_to_f32(const uint8_t *restrict codes, float scale, float *restrict to,
                                  size_t n)
{
    decode_codes(e5m2_to_float, codes, scale, to, n);
}

TV_CLONES static void i8_to_f32(const int8_t *restrict codes, float scale, float *restrict to,
                                size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (float)codes[i] * scale;
}

void quantized_codes_to_f32(enum dtype d, const unsigned char *codes, float scale, float *to,
                            size_t n)
{
    if (d == DTYPE_F8_E4M3)
        e4m3_to_f32(codes, scale, to, n);
    else if (d == DTYPE_F8_E5M2)
        e5m2_to_f32(codes, scale, to, n);
    else
        i8_to_f32((const int8_t *)codes, scale, to, n);
}

float quantized_codes_e8m0_to_f32(unsigned char code)
{
    if (code == 0xFF)
        return float16_float_from_bits(0x7FC00000);
    return float16_float_from_bits(code ? (uint32_t)code << 23
                                        : 1u << 22); /* 2^-127 is subnormal */
}
