#include "dtype.h"

#include "simd.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#define TILE 1024 /* elements that take a detour over a buffer at a time */

static const struct {
    const char *name, *torch, *brief;
    size_t bits;
} known[DTYPE_COUNT] = {
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
    return known[d].name;
}

enum dtype dtype_from_name(const char *name)
{
    for (int d = DTYPE_NONE + 1; d < DTYPE_COUNT; d++)
        if (strcmp(known[d].name, name) == 0)
            return (enum dtype)d;
    return DTYPE_NONE;
}

enum dtype dtype_from_user_name(const char *name)
{
    if (strncasecmp(name, "torch.", 6) == 0)
        name += 6;
    for (int d = DTYPE_NONE + 1; d < DTYPE_COUNT; d++)
        if (known[d].torch &&
            (strcasecmp(known[d].torch, name) == 0 || strcasecmp(known[d].brief, name) == 0))
            return (enum dtype)d;
    return DTYPE_NONE;
}

const char *dtype_torch_name(enum dtype d)
{
    return known[d].torch;
}

size_t dtype_bits(enum dtype d)
{
    return known[d].bits;
}

bool dtype_is_float(enum dtype d)
{
    return known[d].torch != NULL;
}

bool dtype_is_quantized(enum dtype d)
{
    return dtype_bits(d) < 8 || (d >= DTYPE_F8_E5M2 && d <= DTYPE_F8_E5M2FNUZ);
}

/* ---- one element ---------------------------------------------------------------------------- */

/* F32: sign 1, exponent 8 (bias 127), mantissa 23; F16: 1, 5 (bias 15), 10; BF16: 1, 8, 7. All
 * cases are computed and one is chosen, so that the loops have no branches. */

TV_INLINE uint32_t float_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

TV_INLINE float bits_float(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

TV_INLINE uint64_t double_bits(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

TV_INLINE double bits_double(uint64_t u)
{
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

TV_INLINE float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, a = h & 0x7FFF;
    uint32_t subnormal = float_bits((float)(int32_t)a * 0x1p-24f);
    uint32_t normal = (a << 13) + (112u << 23); /* another bias */
    uint32_t special = normal + (112u << 23);   /* infinity, NaN: all exponent bits */
    uint32_t u = a < 0x400 ? subnormal : a < 0x7C00 ? normal : special;
    return bits_float(sign | u);
}

TV_INLINE uint16_t float_to_half(float x)
{
    uint32_t u = float_bits(x), sign = u >> 16 & 0x8000, a = u & 0x7FFFFFFF;
    /* One unit of 0.5f is that of F16's subnormals: the addition rounds. */
    uint32_t subnormal = float_bits(bits_float(a) + 0.5f) - 0x3F000000;
    /* Half a unit less one, and one more if the last bit is odd; a carry moves the exponent. */
    uint32_t normal = (a - (112u << 23) + 0xFFF + (a >> 13 & 1)) >> 13;
    uint32_t h = a < 0x38800000 ? subnormal : a < 0x477FF000 ? normal : 0x7C00;
    return (uint16_t)(sign | (a > 0x7F800000 ? 0x7E00 : h));
}

TV_INLINE float brain_to_float(uint16_t b)
{
    return bits_float((uint32_t)b << 16);
}

TV_INLINE uint16_t float_to_brain(float x)
{
    uint32_t u = float_bits(x);
    uint32_t rounded = (u + 0x7FFF + (u >> 16 & 1)) >> 16;
    return (uint16_t)((u & 0x7FFFFFFF) > 0x7F800000 ? (u >> 16 | 0x40) : rounded);
}

/* To a format of 16 bits in one rounding, as above: through F32 it would be two. */
TV_INLINE uint16_t double_to_16(double x, uint64_t mantissa, uint64_t bias)
{
    uint64_t cut = 52 - mantissa, infinity = (2 * bias + 1) << mantissa;
    uint64_t smallest = (1024 - bias) << 52, unit = (1076 - bias - mantissa) << 52;
    uint64_t u = double_bits(x), sign = u >> 48 & 0x8000, a = u & ~(1ull << 63);
    uint64_t subnormal = double_bits(bits_double(a) + bits_double(unit)) - unit;
    uint64_t normal = (a - ((1023 - bias) << 52) + (1ull << (cut - 1)) - 1 + (a >> cut & 1)) >> cut;
    uint64_t h = (int64_t)normal < (int64_t)infinity ? normal : infinity;
    h = (int64_t)a < (int64_t)smallest ? subnormal : h;
    h = (int64_t)a > (int64_t)(0x7FFull << 52) ? infinity | 1ull << (mantissa - 1) : h;
    return (uint16_t)(sign | h);
}

/* ---- loops ---------------------------------------------------------------------------------- */

/* Numbers at any alignment. */
typedef uint16_t any16 __attribute__((aligned(1), may_alias));
typedef uint32_t any32 __attribute__((aligned(1), may_alias));
typedef uint64_t any64 __attribute__((aligned(1), may_alias));
typedef float any_float __attribute__((aligned(1), may_alias));
typedef double any_double __attribute__((aligned(1), may_alias));

TV_CLONES static void widen_half(const any16 *restrict from, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = half_to_float(from[i]);
}

TV_CLONES static void widen_brain(const any16 *restrict from, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = brain_to_float(from[i]);
}

TV_CLONES static void narrow_half(const float *restrict from, any16 *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = float_to_half(from[i]);
}

TV_CLONES static void narrow_brain(const float *restrict from, any16 *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = float_to_brain(from[i]);
}

TV_CLONES static void round_half(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = half_to_float(float_to_half(x[i]));
}

TV_CLONES static void round_brain(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = brain_to_float(float_to_brain(x[i]));
}

TV_CLONES static void widen_float(const any_float *restrict from, double *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (double)from[i];
}

TV_CLONES static void narrow_double(const any_double *restrict from, any_float *restrict to,
                                    size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (float)from[i];
}

TV_CLONES static void half_doubles(const double *restrict from, any16 *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = double_to_16(from[i], 10, 15);
}

TV_CLONES static void brain_doubles(const double *restrict from, any16 *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = double_to_16(from[i], 7, 127);
}

void dtype_to_f32(enum dtype d, const void *from, float *to, size_t n)
{
    if (d == DTYPE_F16)
        widen_half(from, to, n);
    else if (d == DTYPE_BF16)
        widen_brain(from, to, n);
    else if (d == DTYPE_F64)
        narrow_double(from, to, n);
    else if (n)
        memmove(to, from, n * sizeof *to);
}

void dtype_from_f32(enum dtype d, const float *from, void *to, size_t n)
{
    if (d == DTYPE_F16)
        narrow_half(from, to, n);
    else if (d == DTYPE_BF16)
        narrow_brain(from, to, n);
    else if (d == DTYPE_F32 && n)
        memmove(to, from, n * sizeof *from);
    double wide[TILE];
    for (size_t i = 0; d == DTYPE_F64 && i < n; i += TILE) {
        size_t m = n - i < TILE ? n - i : TILE;
        widen_float(from + i, wide, m);
        memcpy((char *)to + i * sizeof *wide, wide, m * sizeof *wide);
    }
}

void dtype_to_f64(enum dtype d, const void *from, double *to, size_t n)
{
    if (d == DTYPE_F32)
        widen_float(from, to, n);
    else if (d == DTYPE_F64 && n)
        memmove(to, from, n * sizeof *to);
    float narrow[TILE];
    for (size_t i = 0; dtype_bits(d) == 16 && i < n; i += TILE) {
        size_t m = n - i < TILE ? n - i : TILE;
        dtype_to_f32(d, (const char *)from + 2 * i, narrow, m);
        widen_float(narrow, to + i, m);
    }
}

void dtype_from_f64(enum dtype d, const double *from, void *to, size_t n)
{
    if (d == DTYPE_F16)
        half_doubles(from, to, n);
    else if (d == DTYPE_BF16)
        brain_doubles(from, to, n);
    else if (d == DTYPE_F32)
        narrow_double(from, to, n);
    else if (d == DTYPE_F64 && n)
        memmove(to, from, n * sizeof *from);
}

void dtype_round_f32(enum dtype d, float *x, size_t n)
{
    if (d == DTYPE_F16)
        round_half(x, n);
    else if (d == DTYPE_BF16)
        round_brain(x, n);
}

/* ---- what is not finite --------------------------------------------------------------------- */

/* Is there a number among these whose exponent bits are all ones? */

TV_CLONES static bool any_nonfinite16(const any16 *x, uint16_t exponent, size_t n)
{
    uint16_t found = 0;
    for (size_t i = 0; i < n; i++)
        found |= (uint16_t)((x[i] & exponent) == exponent);
    return found;
}

TV_CLONES static bool any_nonfinite32(const any32 *x, size_t n)
{
    uint32_t found = 0;
    for (size_t i = 0; i < n; i++)
        found |= (x[i] & 0x7F800000) == 0x7F800000;
    return found;
}

TV_CLONES static bool any_nonfinite64(const any64 *x, size_t n)
{
    const uint64_t exponent = 0x7FFull << 52;
    uint64_t found = 0;
    for (size_t i = 0; i < n; i++)
        found |= (x[i] & exponent) == exponent;
    return found;
}

static bool any_nonfinite(enum dtype d, const char *x, size_t n)
{
    if (d == DTYPE_F16)
        return any_nonfinite16((const any16 *)x, 0x7C00, n);
    if (d == DTYPE_BF16)
        return any_nonfinite16((const any16 *)x, 0x7F80, n);
    if (d == DTYPE_F32)
        return any_nonfinite32((const any32 *)x, n);
    return any_nonfinite64((const any64 *)x, n);
}

size_t dtype_find_nonfinite(enum dtype d, const void *from, size_t n)
{
    const char *x = from;
    size_t size = dtype_bits(d) / 8, i = 0;
    while (i < n && !any_nonfinite(d, x + i * size, n - i < TILE ? n - i : TILE))
        i += TILE;
    while (i < n && !any_nonfinite(d, x + i * size, 1))
        i++;
    return i < n ? i : n;
}
