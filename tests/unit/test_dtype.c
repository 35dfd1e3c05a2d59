#include "dtype.h"
#include "unit.h"

#include <stdint.h>

/* Reference implementations: values computed from the fields of the formats, rounding by comparison
 * of the two neighbors. */

struct format {
    enum dtype dtype;
    int mantissa, bias;
};

static const struct format f16 = {DTYPE_F16, 10, 15}, bf16 = {DTYPE_BF16, 7, 127};

static uint16_t exponent_bits(const struct format *f)
{
    return (uint16_t)((2 * f->bias + 1) << f->mantissa);
}

static double reference_value(const struct format *f, uint16_t bits)
{
    int fields = bits & 0x7FFF, exponent = fields >> f->mantissa;
    int fraction = fields & ((1 << f->mantissa) - 1);
    double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == 2 * f->bias + 1)
        return fraction ? NAN : sign * INFINITY;
    if (exponent > 0)
        fraction += 1 << f->mantissa;
    else
        exponent = 1;
    return sign * ldexp(fraction, exponent - f->bias - f->mantissa);
}

/* The largest finite magnitude not above |x|, by bisection, or its neighbor if that is nearer. */
static uint16_t reference_round(const struct format *f, double x)
{
    uint16_t sign = signbit(x) ? 0x8000 : 0, low = 0, high = exponent_bits(f);
    double a = fabs(x);
    if (isinf(x))
        return sign | high;
    while (high - low > 1) {
        uint16_t middle = (uint16_t)((low + high) / 2);
        *(reference_value(f, middle) <= a ? &low : &high) = middle;
    }
    /* The step above the largest finite number is as wide as the one below it. */
    double below = reference_value(f, low);
    double above = high < exponent_bits(f) ? reference_value(f, high)
                                           : 2 * below - reference_value(f, (uint16_t)(low - 1));
    double down = a - below, up = above - a;
    bool is_up = up < down || (up == down && low % 2 == 1);
    return sign | (is_up ? high : low);
}

static uint64_t seed = 1;

static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static double double_of(uint64_t u)
{
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static void test_patterns(const struct format *f)
{
    static uint16_t all[65536], back[65536];
    static float x[65536];
    static double wide[65536];
    for (size_t i = 0; i < 65536; i++)
        all[i] = (uint16_t)i;
    dtype_to_f32(f->dtype, all, x, 65536);
    dtype_to_f64(f->dtype, all, wide, 65536);
    for (size_t i = 0; i < 65536; i++) {
        double want = reference_value(f, (uint16_t)i);
        CHECK(isnan(want) ? isnan(x[i]) && isnan(wide[i]) : x[i] == want && wide[i] == want);
        CHECK(isnan(want) || !signbit(x[i]) == (i < 32768));
    }
    dtype_from_f32(f->dtype, x, back, 65536);
    for (size_t i = 0; i < 65536; i++)
        CHECK(isnan(x[i]) ? (back[i] & 0x7FFF) > exponent_bits(f) : back[i] == i);
    dtype_from_f64(f->dtype, wide, back, 65536);
    for (size_t i = 0; i < 65536; i++)
        CHECK(isnan(x[i]) ? (back[i] & 0x7FFF) > exponent_bits(f) : back[i] == i);
    /* one at a time and at odd addresses: the loops' tails */
    static unsigned char bytes[2 * 7 + 1];
    memcpy(bytes + 1, all + 15360, 2 * 7);
    float seven[7];
    dtype_to_f32(f->dtype, bytes + 1, seven, 7);
    CHECK(memcmp(seven, x + 15360, sizeof seven) == 0);
    dtype_from_f32(f->dtype, seven, bytes + 1, 7);
    CHECK(memcmp(bytes + 1, all + 15360, 2 * 7) == 0);
}

/* The difference of two arrays is that of their conversions, at odd addresses too. */
static void test_difference(const struct format *f)
{
    enum { N = 5000 };
    static unsigned char bytes[2][2 * N + 1];
    static float x[N], b[N], y[N];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i / sizeof *bytes][i % sizeof *bytes] = (unsigned char)draw();
    for (size_t odd = 0; odd < 2; odd++) {
        dtype_to_f32(f->dtype, bytes[0] + odd, x, N);
        dtype_to_f32(f->dtype, bytes[1] + odd, b, N);
        dtype_subtract_16_bit(f->dtype, bytes[0] + odd, bytes[1] + odd, y, N);
        for (size_t i = 0; i < N; i++)
            CHECK(isnan(x[i] - b[i]) ? isnan(y[i]) : y[i] == x[i] - b[i]);
    }
}

/* Checks the conversions from F32 and F64, and dtype_round_f32_to_precision, for F32 values. */
static void check_floats(const struct format *f, const float *x, size_t n)
{
    uint16_t *got = malloc(2 * n), *through = malloc(2 * n);
    double *wide = malloc(8 * n);
    float *rounded = malloc(4 * n);
    dtype_from_f32(f->dtype, x, got, n);
    dtype_to_f64(DTYPE_F32, x, wide, n);
    dtype_from_f64(f->dtype, wide, through, n);
    memcpy(rounded, x, 4 * n);
    dtype_round_f32_to_precision(f->dtype, rounded, n);
    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i])) {
            CHECK((got[i] & 0x7FFF) > exponent_bits(f) && (through[i] & 0x7FFF) > exponent_bits(f));
            CHECK(isnan(rounded[i]));
            continue;
        }
        uint16_t want = reference_round(f, x[i]);
        CHECK(got[i] == want && through[i] == want);
        CHECK(rounded[i] == reference_value(f, want) && !signbit(rounded[i]) == (want < 32768));
    }
    free(got);
    free(through);
    free(wide);
    free(rounded);
}

/* Every number of the format, the middle between it and the next, and the neighbors of both. */
static void test_edges(const struct format *f)
{
    static float x[6 * 32768];
    static double wide[6 * 32768];
    static uint16_t got[6 * 32768];
    size_t n = 0;
    for (uint16_t b = 0; b < exponent_bits(f); b++) {
        double low = reference_value(f, b),
               step = b ? low - reference_value(f, (uint16_t)(b - 1)) : 0;
        double high = b + 1 < exponent_bits(f) ? reference_value(f, (uint16_t)(b + 1)) : low + step;
        double middle = low + (high - low) / 2;
        wide[n] = middle;
        wide[n + 1] = nextafter(middle, 0);
        wide[n + 2] = -nextafter(middle, INFINITY);
        wide[n + 3] = -low;
        wide[n + 4] = nextafter(low, 0);
        wide[n + 5] = nextafter(low, INFINITY);
        for (size_t i = n; i < n + 6; i += 3) {
            x[i] = (float)wide[i];
            x[i + 1] = nextafterf(x[i], 0);
            x[i + 2] = -nextafterf(x[i], INFINITY);
        }
        n += 6;
    }
    check_floats(f, x, n);
    dtype_from_f64(f->dtype, wide, got, n);
    for (size_t i = 0; i < n; i++)
        CHECK(got[i] == reference_round(f, wide[i]));
}

static void test_random(const struct format *f)
{
    static float x[200000];
    static double wide[200000];
    static uint16_t got[200000];
    for (size_t i = 0; i < 200000; i++)
        x[i] = float_of((uint32_t)(draw() >> 32));
    check_floats(f, x, 200000);
    for (size_t i = 0; i < 200000; i++) {
        uint64_t u = draw();
        if (i % 2) /* an exponent near the format's */
            u = (u & ~(0x7FFull << 52)) | (uint64_t)(1023 - 160 + (int)(u >> 32 & 0xFF) + 16) << 52;
        if (i % 4 == 1) /* a tie but for the last bits */
            u = (u & ~((1ull << (51 - f->mantissa)) - 1)) | (u & (u >> 8) & 1);
        wide[i] = double_of(u);
    }
    dtype_from_f64(f->dtype, wide, got, 200000);
    for (size_t i = 0; i < 200000; i++)
        CHECK(isnan(wide[i]) ? (got[i] & 0x7FFF) > exponent_bits(f)
                             : got[i] == reference_round(f, wide[i]));
}

static void test_wide(void)
{
    static double wide[3001], back[3001];
    static float x[3001], again[3001];
    for (size_t i = 0; i < 3001; i++)
        wide[i] = double_of((draw() & ~(0x7FFull << 52)) | (uint64_t)(1000 + i % 40) << 52);
    dtype_to_f32(DTYPE_F64, wide, x, 3001);
    for (size_t i = 0; i < 3001; i++)
        CHECK(x[i] == (float)wide[i]);
    dtype_from_f64(DTYPE_F32, wide, again, 3001);
    CHECK(memcmp(x, again, sizeof x) == 0);
    dtype_from_f32(DTYPE_F64, x, back, 3001);
    for (size_t i = 0; i < 3001; i++)
        CHECK(back[i] == (double)x[i]);
    dtype_to_f64(DTYPE_F32, x, wide, 3001);
    CHECK(memcmp(wide, back, sizeof back) == 0);
    dtype_to_f64(DTYPE_F64, wide, back, 3001);
    CHECK(memcmp(wide, back, sizeof back) == 0);
    dtype_to_f32(DTYPE_F32, x, again, 3001);
    CHECK(memcmp(x, again, sizeof x) == 0);
    dtype_round_f32_to_precision(DTYPE_F32, again, 3001);
    CHECK(memcmp(x, again, sizeof x) == 0);
}

static void test_nonfinite(void)
{
    static const enum dtype dtypes[] = {DTYPE_F16, DTYPE_BF16, DTYPE_F32, DTYPE_F64};
    static double x[5000], bytes[5001];
    for (size_t d = 0; d < 4; d++)
        for (size_t at = 0; at < 5000; at += 997) {
            char *to = (char *)bytes + 1;
            memset(x, 0, sizeof x);
            dtype_from_f64(dtypes[d], x, bytes, 5000);
            CHECK(dtype_find_nonfinite(dtypes[d], bytes, 5000) == 5000);
            x[at] = at % 2 ? NAN : -INFINITY;
            if (at + 1 < 5000)
                x[at + 1] = INFINITY;
            dtype_from_f64(dtypes[d], x, bytes, 5000);
            memmove(to, bytes, 5000 * dtype_bits(dtypes[d]) / 8);
            CHECK(dtype_find_nonfinite(dtypes[d], to, 5000) == at);
            CHECK(dtype_find_nonfinite(dtypes[d], to, at) == at);
        }
    CHECK(dtype_find_nonfinite(DTYPE_F32, NULL, 0) == 0);
    float largest = 0x1.fffffep127f;
    CHECK(dtype_find_nonfinite(DTYPE_F32, &largest, 1) == 1);
}

static void test_names(void)
{
    for (int d = DTYPE_NONE + 1; d < DTYPE_COUNT; d++) {
        CHECK(dtype_from_name(dtype_name((enum dtype)d)) == (enum dtype)d);
        CHECK(dtype_bits((enum dtype)d) >= 4);
    }
    CHECK(dtype_name(DTYPE_NONE) == NULL && dtype_torch_name(DTYPE_I32) == NULL);
    CHECK(dtype_from_name("f32") == DTYPE_NONE && dtype_from_name("") == DTYPE_NONE);
    CHECK(dtype_from_user_name("BFloat16") == DTYPE_BF16 &&
          dtype_from_user_name("f16") == DTYPE_F16);
    CHECK(dtype_from_user_name("torch.float32") == DTYPE_F32 &&
          dtype_from_user_name("F64") == DTYPE_F64);
    CHECK(dtype_from_user_name("int8") == DTYPE_NONE && dtype_from_user_name("") == DTYPE_NONE);
    CHECK(strcmp(dtype_torch_name(DTYPE_BF16), "bfloat16") == 0);
    CHECK(dtype_is_float(DTYPE_F16) && !dtype_is_float(DTYPE_F8_E4M3));
    CHECK(dtype_bits(DTYPE_F6_E2M3) == 6 && dtype_bits(DTYPE_C64) == 64);
}

int main(void)
{
    const struct format *formats[] = {&f16, &bf16};
    for (size_t i = 0; i < 2; i++) {
        test_patterns(formats[i]);
        test_difference(formats[i]);
        test_edges(formats[i]);
        test_random(formats[i]);
    }
    test_wide();
    test_nonfinite();
    test_names();
    return unit_end();
}
