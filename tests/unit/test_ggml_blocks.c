/* Each type of block is decoded again, one element at a time, from the formula of that element. */
#include "unit.h"

#include "dtype.h"
#include "ggml_blocks.h"
#include "random.h"

#include <stdbool.h>

#define BLOCKS 40

typedef const unsigned char *block;

static float half(block b)
{
    float x;
    dtype_to_f32(DTYPE_F16, b, &x, 1);
    return x;
}

/* The code of 4 bits of element e, in 16 bytes. */
static int nibble(block b, int e)
{
    return b[e % 16] >> 4 * (e / 16) & 15;
}

static const float iq4[] = {-127, -104, -83, -65, -49, -35, -22, -10,
                            1,    13,   25,  38,  53,  69,  89,  113};
static const float mxfp4[] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* ---- element e of a block -------------------------------------------------------------------- */

static float element_32(enum ggml_type type, block b, int e)
{
    switch (type) {
    case GGML_TYPE_Q8_0:
        return half(b) * (float)(signed char)b[2 + e];
    case GGML_TYPE_Q4_0:
        return half(b) * (float)(nibble(b + 2, e) - 8);
    case GGML_TYPE_Q4_1:
        return half(b) * (float)nibble(b + 4, e) + half(b + 2);
    case GGML_TYPE_Q5_0:
        return half(b) * (float)((nibble(b + 6, e) | (b[2 + e / 8] >> e % 8 & 1) << 4) - 16);
    case GGML_TYPE_Q5_1:
        return half(b) * (float)(nibble(b + 8, e) | (b[4 + e / 8] >> e % 8 & 1) << 4) + half(b + 2);
    case GGML_TYPE_IQ4_NL:
        return half(b) * iq4[nibble(b + 2, e)];
    default:
        return ldexpf(1, b[0] - 128) * mxfp4[nibble(b + 1, e)];
    }
}

static float element_k45(enum ggml_type type, block b, int e)
{
    int j = e / 32, l = e % 32, scale = b[4 + j] & 63, offset = b[8 + j] & 63;
    int q = b[(type == GGML_TYPE_Q4_K ? 16 : 48) + 32 * (j / 2) + l] >> 4 * (j % 2) & 15;
    if (j >= 4) {
        scale = (b[8 + j] & 15) | b[j] >> 6 << 4;
        offset = b[8 + j] >> 4 | b[4 + j] >> 6 << 4;
    }
    if (type == GGML_TYPE_Q5_K)
        q |= (b[16 + l] >> j & 1) << 4;
    return half(b) * (float)scale * (float)q - half(b + 2) * (float)offset;
}

static float element_256(enum ggml_type type, block b, int e)
{
    int h = e / 128, k = e % 128 / 32, l = e % 32, i = e / 16, q, scale;
    float d;
    switch (type) {
    case GGML_TYPE_Q2_K:
        q = b[16 + 32 * h + l] >> 2 * k & 3;
        return half(b + 80) * (float)(b[i] & 15) * (float)q - half(b + 82) * (float)(b[i] >> 4);
    case GGML_TYPE_Q3_K:
        q = (b[32 + 32 * h + l] >> 2 * k & 3) - (b[l] >> (4 * h + k) & 1 ? 0 : 4);
        scale = (b[96 + i % 8] >> 4 * (i / 8) & 15) | (b[104 + i % 4] >> 2 * (i / 4) & 3) << 4;
        return half(b + 108) * (float)(scale - 32) * (float)q;
    case GGML_TYPE_Q6_K:
        q = (b[64 * h + 32 * (k % 2) + l] >> 4 * (k / 2) & 15) | (b[128 + 32 * h + l] >> 2 * k & 3)
                                                                     << 4;
        return half(b + 208) * (float)(signed char)b[192 + i] * (float)(q - 32);
    case GGML_TYPE_Q8_K:
        memcpy(&d, b, 4);
        return d * (float)(signed char)b[4 + e];
    case GGML_TYPE_IQ4_XS:
        i = e / 32;
        scale = (b[4 + i / 2] >> 4 * (i % 2) & 15) | ((b[2] | b[3] << 8) >> 2 * i & 3) << 4;
        return half(b) * (float)(scale - 32) * iq4[nibble(b + 8 + 16 * i, l)];
    default:
        return element_k45(type, b, e);
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void fill_with_random_bytes(uint64_t stream, unsigned char *to, size_t n)
{
    float x;
    for (size_t i = 0; i < n; i++) {
        random_fill_uniform(7, stream, i, 1, &x);
        to[i] = (unsigned char)(x * 256);
    }
}

/* Makes the scales finite: the exponent of an F16 at each even offset that may be one is not 31,
 * and the F32 of Q8_K is a usual number. */
static void make_scales_finite(enum ggml_type type, unsigned char *b)
{
    static const struct {
        enum ggml_type type;
        int offsets[2];
    } scales[] = {
        {GGML_TYPE_Q2_K, {80, 82}}, {GGML_TYPE_Q3_K, {108, 108}}, {GGML_TYPE_Q6_K, {208, 208}}};
    int at[2] = {0, 2};
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++)
        if (scales[i].type == type)
            memcpy(at, scales[i].offsets, sizeof at);
    if (type == GGML_TYPE_MXFP4)
        b[0] -= b[0] == 255;
    else if (type == GGML_TYPE_Q8_K)
        b[3] &= 0xBF;
    else
        for (int i = 0; i < 2; i++)
            b[at[i] + 1] &= 0xFB;
}

static bool same_bits(const float *x, const float *y, size_t n)
{
    return memcmp(x, y, n * sizeof *x) == 0;
}

static void test_type(enum ggml_type type)
{
    static unsigned char blocks[BLOCKS * 292 + 1];
    static float expected[BLOCKS * 256], got[BLOCKS * 256];
    const struct ggml_type_info *info = ggml_type_find(type);
    size_t elements = info->elements, n = BLOCKS * elements;
    unsigned char *b = blocks + 1; /* blocks need no alignment */
    fill_with_random_bytes((uint64_t)type, b, BLOCKS * info->bytes);
    for (size_t i = 0; i < BLOCKS; i++)
        make_scales_finite(type, b + i * info->bytes);
    for (size_t i = 0; i < n; i++)
        expected[i] = (elements == 32 ? element_32 : element_256)(
            type, b + i / elements * info->bytes, (int)(i % elements));
    ggml_blocks_decode(type, b, 0, n, got);
    if (!same_bits(expected, got, n))
        fprintf(stderr, "%s\n", info->name);
    CHECK(same_bits(expected, got, n));
    for (size_t first = 0; first < 2 * elements + 2; first += elements / 2 - 1)
        for (size_t count = 0; count < 3 * elements; count += elements / 3) {
            memset(got, 0, sizeof got);
            ggml_blocks_decode(type, b, first, count, got);
            CHECK(same_bits(expected + first, got, count) && got[count] == 0);
        }
}

static void test_every_type(void)
{
    size_t n = 0;
    for (uint32_t type = 0; type < 64; type++) {
        const struct ggml_type_info *info = ggml_type_find(type);
        if (!info || info->elements <= 1)
            continue;
        test_type((enum ggml_type)type);
        n++;
    }
    CHECK(n == 14);
    CHECK(!ggml_type_find(4) && !ggml_type_find(42) && !ggml_type_find(UINT32_MAX));
    CHECK(ggml_type_find(9) && ggml_type_find(9)->elements == 0);
}

/* The whole block of a scale that is not finite is not finite, also where the code is 0. */
static void test_nonfinite_scale(void)
{
    unsigned char q8[34] = {0x00, 0x7C, 0, 1, 2}, q4_k[144] = {0, 0, 0x00, 0x7E};
    unsigned char e8m0[17] = {255};
    float x[256];
    ggml_blocks_decode(GGML_TYPE_Q8_0, q8, 0, 32, x);
    for (size_t i = 0; i < 32; i++)
        CHECK(!isfinite(x[i]));
    ggml_blocks_decode(GGML_TYPE_Q4_K, q4_k, 0, 256, x);
    for (size_t i = 0; i < 256; i++)
        CHECK(!isfinite(x[i]));
    ggml_blocks_decode(GGML_TYPE_MXFP4, e8m0, 0, 32, x);
    CHECK(isnan(x[0]) && isnan(x[31]));
}

/* ---- Q8_0 ------------------------------------------------------------------------------------ */

/* As the format's reference has it, by roundf. */
static void encode_plainly(const float *x, unsigned char *to)
{
    float most = 0;
    for (size_t e = 0; e < 32; e++)
        most = fmaxf(most, fabsf(x[e]));
    float d = most / 127.0f, inverse = d == 0 ? 0 : 1 / d;
    if (isinf(inverse))
        inverse = 0;
    dtype_from_f32(DTYPE_F16, &d, to, 1);
    for (size_t e = 0; e < 32; e++)
        to[2 + e] = (unsigned char)(int)roundf(x[e] * inverse);
}

static void test_encode_random_blocks(void)
{
    float x[32 * BLOCKS];
    unsigned char got[34 * BLOCKS], expected[34];
    random_fill_uniform(1, 2, 0, 32 * BLOCKS, x);
    for (size_t i = 0; i < 32 * BLOCKS; i++)
        x[i] = ldexpf(x[i] - 0.5f, (int)(i / 32) * 4 - 145); /* from subnormals to 3 */
    for (size_t i = 0; i < 32; i++) {                        /* ties, as 1 / d is exact */
        x[i] = (float)i * 0.5f - 8;
        x[32 + i] = 0x1p-130f;
    }
    x[0] = 127;
    CHECK(ggml_blocks_encode_q8_0(x, 32 * BLOCKS, got) == 32 * BLOCKS);
    for (size_t i = 0; i < BLOCKS; i++) {
        encode_plainly(x + 32 * i, expected);
        CHECK(memcmp(expected, got + 34 * i, 34) == 0);
    }
}

static void test_encode_edges(void)
{
    float x[64] = {[3] = 0.49999997f, [4] = -0.0f, [5] = 127, [32] = 65519.0f * 127};
    unsigned char b[68];
    CHECK(ggml_blocks_encode_q8_0(x, 64, b) == 64);
    CHECK(b[2 + 3] == 0 && b[2 + 4] == 0 && b[2 + 5] == 127);
    x[40] = -65520.0f * 127;
    CHECK(ggml_blocks_encode_q8_0(x, 64, b) == 32);
}

int main(void)
{
    test_every_type();
    test_nonfinite_scale();
    test_encode_random_blocks();
    test_encode_edges();
    return unit_end();
}
