/* All 256 codes of each type against the definition in double, with and without a scale. */
#include "unit.h"

#include "quantized_codes.h"

#include <stdint.h>

/* sign, exponent of `exponent` bits and mantissa of `mantissa` bits, computed from the fields. */
static double value_by_definition(unsigned code, int exponent, int mantissa, int bias)
{
    int e = (int)(code >> mantissa & ((1u << exponent) - 1));
    double m = (double)(code & ((1u << mantissa) - 1)) / (double)(1 << mantissa);
    double x = e ? ldexp(1 + m, e - bias) : ldexp(m, 1 - bias);
    return code & 0x80 ? -x : x;
}

static double value_of(enum dtype d, unsigned code)
{
    if (d == DTYPE_I8)
        return code < 128 ? (double)code : (double)code - 256;
    if (d == DTYPE_F8_E4M3)
        return (code & 0x7F) == 0x7F ? NAN : value_by_definition(code, 4, 3, 7);
    if ((code & 0x7F) > 0x7C)
        return NAN;
    if ((code & 0x7F) == 0x7C)
        return code & 0x80 ? -INFINITY : INFINITY;
    return value_by_definition(code, 5, 2, 15);
}

static bool same_bits_or_nan(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static void test_codes(enum dtype d, float scale)
{
    /* Each code at every place of the loops' vectors, and a rest that fills none. */
    unsigned char codes[1000];
    float x[1001];
    for (size_t i = 0; i < 1000; i++)
        codes[i] = (unsigned char)(i * 37 % 256);
    for (size_t n = 1000; n > 930; n--) {
        x[n] = 7;
        quantized_codes_to_f32(d, codes + (1000 - n), scale, x, n);
        for (size_t i = 0; i < n; i++)
            if (!same_bits_or_nan(x[i], (float)value_of(d, codes[1000 - n + i]) * scale)) {
                fprintf(stderr, "%s %02x: %a\n", dtype_name(d), codes[1000 - n + i], (double)x[i]);
                unit_failures++;
            }
        CHECK(x[n] == 7);
    }
}

int main(void)
{
    static const enum dtype dtypes[] = {DTYPE_F8_E4M3, DTYPE_F8_E5M2, DTYPE_I8};
    static const float scales[] = {1, 0, 0.0123f, 0x1p-127f, 0x1p127f, 3e-42f, INFINITY, NAN};
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < sizeof scales / sizeof *scales; j++)
            test_codes(dtypes[i], scales[j]);
    for (unsigned code = 0; code < 255; code++)
        CHECK(quantized_codes_e8m0_to_f32((unsigned char)code) == ldexpf(1, (int)code - 127));
    CHECK(isnan(quantized_codes_e8m0_to_f32(255)));
    return unit_end();
}
