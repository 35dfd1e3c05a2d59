/* Codes of eight bits to F32: F8_E4M3, F8_E5M2 (OCP 8-bit Floating Point Specification, 2023) and
 * I8, each times a scale; F8_E8M0, which holds scales (OCP Microscaling Formats, 2023).
 *
 *     type   sign, exponent, mantissa   bias   NaN                    infinite
 *     E4M3   1, 4, 3                    7      0x7F, 0xFF             none
 *     E5M2   1, 5, 2                    15     as in the upper byte of an F16
 *     E8M0   0, 8, 0                    127    0xFF                   none; 0 is 2^-127
 *
 * Every value is exact in F32; the product with the scale rounds once. */
#ifndef TV_QUANTIZED_CODES_H
#define TV_QUANTIZED_CODES_H

#include "dtype.h"

/* to[i] = (value of codes[i]) * scale; d is F8_E4M3, F8_E5M2 or I8. */
void quantized_codes_to_f32(enum dtype d, const unsigned char *codes, float scale, float *to,
                            size_t n);
float quantized_codes_e8m0_to_f32(unsigned char code);

#endif
