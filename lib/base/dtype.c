#include "dtype.h"

#include "float16.h"
#include "simd.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#define TILE 1024 /* elements converted through a buffer at a time */

static const struct {
    const char *name, *torch_name, *short_name;
    size_t bits;
} dtypes[DTYPE_COUNT] = {
    [DTYPE_BOOL] = {.name = "BOOL", .bits = 8},
    [DTYPE_F4] = {.name = "F4", .bits = 4},
    [DTYPE_F6_E2M3] = {.name = "F6_E2M3", .bits = 6},
    [DTYPE_F6_E3M2] = {.name = "F6_E3M2", .bits = 6},
    [DTYPE_U8] = {.name = "U8", .bits = 8},
    [DTYPE_I8] = {.name = "I8", .bits = 8},
    [DTYPE_F8_E5M2] = {.name = "F8_E5M2", .bits = 8},
    [DTYPE_F8_E4M3] = {.name = "F8_E4M3", .bits = 8},
    [DTYPE_F8_E8M0] = {.name = "F8_E8M0", .bits = 8},
    [DTYPE_F8_E4M3FNUZ] = {.name = "F8_E4M3FNUZ", .bits = 8},
    [DTYPE_F8_E5M2FNUZ] = {.name = "F8_E5M2FNUZ", .bits = 8},
    [DTYPE_I16] = {.name = "I16", .bits = 16},
    [DTYPE_U16] = {.name = "U16", .bits = 16},
    [DTYPE_F16] = {"F16", "float16", "f16", 16},
    [DTYPE_BF16] = {"BF16", "bfloat16", "bf16", 16},
    [DTYPE_I32] = {.name = "I32", .bits = 32},
    [DTYPE_U32] = {.name = "U32", .bits = 32},
    [DTYPE_F32] = {"F32", "float32", "f32", 32},
    [DTYPE_C64] = {.name = "C64", .bits = 64},
    [DTYPE_F64] = {"F64", "float64", "f64", 64},
    [DTYPE_I64] = {.name = "I64", .bits = 64},
    [DTYPE_U64] = {.name = "U64", .bits = 64},
};

const char *dtype_name(enum dtype d)
{
    return dtypes[d].name;
}

enum dtype dtype_from_name(const char *name)
{
    for (int d = DTYPE_NONE + 1; d < DTYPE_COUNT; d++)
        if (strcmp(dtypes[d].name, name) == 0)
            return (enum dtype)d;
    return DTYPE_NONE;
}

enum dtype dtype_from_user_name(const char *name)
{
    if (strncasecmp(name, "torch.", 6) == 0)
        name += 6;
    for (int d = DTYPE_NONE + 1; d < DTYPE_COUNT; d++)
        if (dtypes[d].torch_name && (strcasecmp(dtypes[d].torch_name, name) == 0 ||
                                     strcasecmp(dtypes[d].short_name, name) == 0))
            return (enum dtype)d;
    return DTYPE_NONE;
}

const char *dtype_torch_name(enum dtype d)
{
    return dtypes[d].torch_name;
}

size_t dtype_bits(enum dtype d)
{
    return dtypes[d].bits;
}

bool dtype_is_float(enum dtype d)
{
    return dtypes[d].torch_name != NULL;
}

bool dtype_is_quantized(enum dtype d)
{
    return dtype_bits(d) < 8 || (d >= DTYPE_F8_E5M2 && d <= DTYPE_F8_E5M2FNUZ);
}

/* ---- one element ---------------------------------------------------------------------------- */

/* BF16 has a sign, 8 exponent bits (bias 127) and 7 bits of mantissa; F16 is in float16.h. Each
 * conversion computes all cases and selects one, so that the loops have no branches. */

TV_INLINE uint64_t bits_of_double(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

TV_INLINE double double_from_bits(uint64_t u)
{
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

TV_INLINE float bf16_to_float(uint16_t b)
{
    return float16_float_from_bits((uint32_t)b << 16);
}

TV_INLINE uint16_t float_to_bf16(float x)
{
    uint32_t u = float16_bits_of_float(x);
    uint32_t rounded = (u + 0x7FFF + (u >> 16 & 1)) >> 16;
    return (uint16_t)((u & 0x7FFFFFFF) > 0x7F800000 ? (u >> 16 | 0x40) : rounded);
}

/* Converts to a 16-bit format with a single rounding, as above; via F32 it would round twice. */
TV_INLINE uint16_t double_to_16_bit_float(double x, uint64_t mantissa, uint64_t bias)
{
    uint64_t cut = 52 - mantissa, infinity = (2 * bias + 1) << mantissa;
    uint64_t smallest = (1024 - bias) << 52, unit = (1076 - bias - mantissa) << 52;
    uint64_t u = bits_of_double(x), sign = u >> 48 & 0x8000, a = u & ~(1ull << 63);
    uint64_t subnormal = bits_of_double(double_from_bits(a) + double_from_bits(unit)) - unit;
    uint64_t normal = (a - ((1023 - bias) << 52) + (1ull << (cut - 1)) - 1 + (a >> cut & 1)) >> cut;
    uint64_t h = (int64_t)normal < (int64_t)infinity ? normal : infinity;
    h = (int64_t)a < (int64_t)smallest ? subnormal : h;
    h = (int64_t)a > (int64_t)(0x7FFull << 52) ? infinity | 1ull << (mantissa - 1) : h;
    return (uint16_t)(sign | h);
}

/* ---- loops ---------------------------------------------------------------------------------- */

/* Numbers at any alignment. */
typedef uint16_t unaligned_u16 __attribute__((aligned(1), may_alias));
typedef uint32_t unaligned_u32 __attribute__((aligned(1), may_alias));
typedef uint64_t unaligned_u64 __attribute__((aligned(1), may_alias));
typedef float unaligned_float __attribute__((aligned(1), may_alias));
typedef double unaligned_double __attribute__((aligned(1), may_alias));

TV_CLONES static void f16_to_f32(const unaligned_u16 *restrict from, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = float16_to_float(from[i]);
}

TV_CLONES static void bf16_to_f32(const unaligned_u16 *restrict from, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = bf16_to_float(from[i]);
}

TV_CLONES static void subtract_f16(const unaligned_u16 *restrict x, const unaligned_u16 *restrict b,
                                   float *restrict y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = float16_to_float(x[i]) - float16_to_float(b[i]);
}

TV_CLONES static void subtract_bf16(const unaligned_u16 *restrict x,
                                    const unaligned_u16 *restrict b, float *restrict y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = bf16_to_float(x[i]) - bf16_to_float(b[i]);
}

TV_CLONES static void f32_to_f16(const float *restrict from, unaligned_u16 *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = float16_from_float(from[i]);
}

TV_CLONES static void f32_to_bf16(const float *restrict from, unaligned_u16 *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = float_to_bf16(from[i]);
}

TV_CLONES static void round_to_f16(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = float16_to_float(float16_from_float(x[i]));
}

TV_CLONES static void round_to_bf16(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = bf16_to_float(float_to_bf16(x[i]));
}

TV_CLONES static void f32_to_f64(const unaligned_float *restrict from, double *restrict to,
                                 size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (double)from[i];
}

TV_CLONES static void f64_to_f32(const unaligned_double *restrict from,
                                 unaligned_float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (float)from[i];
}

TV_CLONES static void f64_to_f16(const double *restrict from, unaligned_u16 *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = double_to_16_bit_float(from[i], 10, 15);
}

TV_CLONES static void f64_to_bf16(const double *restrict from, unaligned_u16 *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = double_to_16_bit_float(from[i], 7, 127);
}

void dtype_to_f32(enum dtype d, const void *from, float *to, size_t n)
{
    if (d == DTYPE_F16)
        f16_to_f32(from, to, n);
    else if (d == DTYPE_BF16)
        bf16_to_f32(from, to, n);
    else if (d == DTYPE_F64)
        f64_to_f32(from, to, n);
    else if (n)
        memmove(to, from, n * sizeof *to);
}

void dtype_subtract_16_bit(enum dtype d, const void *x, const void *b, float *y, size_t n)
{
    if (d == DTYPE_F16)
        subtract_f16(x, b, y, n);
    else
        subtract_bf16(x, b, y, n);
}

void dtype_from_f32(enum dtype d, const float *from, void *to, size_t n)
{
    if (d == DTYPE_F16)
        f32_to_f16(from, to, n);
    else if (d == DTYPE_BF16)
        f32_to_bf16(from, to, n);
    else if (d == DTYPE_F32 && n)
        memmove(to, from, n * sizeof *from);
    double wide[TILE];
    for (size_t i = 0; d == DTYPE_F64 && i < n; i += TILE) {
        size_t m = n - i < TILE ? n - i : TILE;
        f32_to_f64(from + i, wide, m);
        memcpy((char *)to + i * sizeof *wide, wide, m * sizeof *wide);
    }
}

void dtype_to_f64(enum dtype d, const void *from, double *to, size_t n)
{
    if (d == DTYPE_F32)
        f32_to_f64(from, to, n);
    else if (d == DTYPE_F64 && n)
        memmove(to, from, n * sizeof *to);
    float narrow[TILE];
    for (size_t i = 0; dtype_bits(d) == 16 && i < n; i += TILE) {
        size_t m = n - i < TILE ? n - i : TILE;
        dtype_to_f32(d, (const char *)from + 2 * i, narrow, m);
        f32_to_f64(narrow, to + i, m);
    }
}

void dtype_from_f64(enum dtype d, const double *from, void *to, size_t n)
{
    if (d == DTYPE_F16)
        f64_to_f16(from, to, n);
    else if (d == DTYPE_BF16)
        f64_to_bf16(from, to, n);
    else if (d == DTYPE_F32)
        f64_to_f32(from, to, n);
    else if (d == DTYPE_F64 && n)
        memmove(to, from, n * sizeof *from);
}

void dtype_round_f32_to_precision(enum dtype d, float *x, size_t n)
{
    if (d == DTYPE_F16)
        round_to_f16(x, n);
    else if (d == DTYPE_BF16)
        round_to_bf16(x, n);
}

/* ---- NaN and infinity ----------------------------------------------------------------------- */

/* These return true if any of n numbers has an exponent of all ones. */

TV_CLONES static bool has_nonfinite16(const unaligned_u16 *x, uint16_t exponent, size_t n)
{
    uint16_t found = 0;
    for (size_t i = 0; i < n; i++)
        found |= (uint16_t)((x[i] & exponent) == exponent);
    return found;
}

TV_CLONES static bool has_nonfinite32(const unaligned_u32 *x, size_t n)
{
    uint32_t found = 0;
    for (size_t i = 0; i < n; i++)
        found |= (x[i] & 0x7F800000) == 0x7F800000;
    return found;
}

TV_CLONES static bool has_nonfinite64(const unaligned_u64 *x, size_t n)
{
    const uint64_t exponent = 0x7FFull << 52;
    uint64_t found = 0;
    for (size_t i = 0; i < n; i++)
        found |= (x[i] & exponent) == exponent;
    return found;
}

static bool has_nonfinite(enum dtype d, const char *x, size_t n)
{
    if (d == DTYPE_F16)
        return has_nonfinite16((const unaligned_u16 *)x, 0x7C00, n);
    if (d == DTYPE_BF16)
        return has_nonfinite16((const unaligned_u16 *)x, 0x7F80, n);
    if (d == DTYPE_F32)
        return has_nonfinite32((const unaligned_u32 *)x, n);
    return has_nonfinite64((const unaligned_u64 *)x, n);
}

size_t dtype_find_nonfinite(enum dtype d, const void *from, size_t n)
{
    const char *x = from;
    size_t size = dtype_bits(d) / 8, i = 0;
    while (i < n && !has_nonfinite(d, x + i * size, n - i < TILE ? n - i : TILE))
        i += TILE;
    while (i < n && !has_nonfinite(d, x + i * size, 1))
        i++;
    return i < n ? i : n;
}
