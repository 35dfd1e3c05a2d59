#include "ggml_blocks.h"

#include "float16.h"

#include <math.h>
#include <string.h>

#define MAX_ELEMENTS 256 /* of a block */

TV_INLINE float half_at(const unsigned char *p)
{
    return float16_to_float((uint16_t)(p[0] | p[1] << 8));
}

TV_INLINE uint32_t u32_at(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* ---- blocks of 32 elements ------------------------------------------------------------------- */

/* The codes of the first 16 elements are the low nibbles of 16 bytes, those of the others the high
 * ones. */

/* d q */
TV_CLONES static void decode_q8_0(const unsigned char *restrict b, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++, b += 34, to += 32) {
        float d = half_at(b);
        const signed char *q = (const signed char *)b + 2;
        for (size_t e = 0; e < 32; e++)
            to[e] = d * (float)q[e];
    }
}

/* d (q - 8) */
TV_CLONES static void decode_q4_0(const unsigned char *restrict b, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++, b += 18, to += 32) {
        float d = half_at(b);
        TV_NOT_UNROLLED
        for (size_t e = 0; e < 16; e++) {
            to[e] = d * (float)((b[2 + e] & 15) - 8);
            to[e + 16] = d * (float)((b[2 + e] >> 4) - 8);
        }
    }
}

/* d q + m */
TV_CLONES static void decode_q4_1(const unsigned char *restrict b, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++, b += 20, to += 32) {
        float d = half_at(b), m = half_at(b + 2);
        TV_NOT_UNROLLED
        for (size_t e = 0; e < 16; e++) {
            to[e] = d * (float)(b[4 + e] & 15) + m;
            to[e + 16] = d * (float)(b[4 + e] >> 4) + m;
        }
    }
}

/* d (q - 16); bit 4 of each code is in a word of 32 bits. */
TV_CLONES static void decode_q5_0(const unsigned char *restrict b, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++, b += 22, to += 32) {
        float d = half_at(b);
        uint32_t high = u32_at(b + 2);
        TV_NOT_UNROLLED
        for (size_t e = 0; e < 16; e++) {
            int low = (int)((b[6 + e] & 15) | (high >> e & 1) << 4);
            int top = (int)((b[6 + e] >> 4) | (high >> (e + 16) & 1) << 4);
            to[e] = d * (float)(low - 16);
            to[e + 16] = d * (float)(top - 16);
        }
    }
}

/* d q + m */
TV_CLONES static void decode_q5_1(const unsigned char *restrict b, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++, b += 24, to += 32) {
        float d = half_at(b), m = half_at(b + 2);
        uint32_t high = u32_at(b + 4);
        TV_NOT_UNROLLED
        for (size_t e = 0; e < 16; e++) {
            int low = (int)((b[8 + e] & 15) | (high >> e & 1) << 4);
            int top = (int)((b[8 + e] >> 4) | (high >> (e + 16) & 1) << 4);
            to[e] = d * (float)low + m;
            to[e + 16] = d * (float)top + m;
        }
    }
}

/* The values of the codes of IQ4_NL and IQ4_XS, and twice those of MXFP4 (E2M1). */
static const float iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};
static const float mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static void decode_iq4_nl(const unsigned char *restrict b, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++, b += 18, to += 32) {
        float d = half_at(b);
        TV_NOT_UNROLLED
        for (size_t e = 0; e < 16; e++) {
            to[e] = d * iq4_values[b[2 + e] & 15];
            to[e + 16] = d * iq4_values[b[2 + e] >> 4];
        }
    }
}

/* 2^(x - 128), half of an F8_E8M0 number; NaN for the code of NaN. */
static float half_of_e8m0(unsigned x)
{
    return float16_float_from_bits(x == 255 ? 0x7FC00000u : x < 2 ? 0x200000u << x : (x - 1) << 23);
}

static void decode_mxfp4(const unsigned char *restrict b, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++, b += 17, to += 32) {
        float d = half_of_e8m0(b[0]);
        TV_NOT_UNROLLED
        for (size_t e = 0; e < 16; e++) {
            to[e] = d * mxfp4_values[b[1 + e] & 15];
            to[e + 16] = d * mxfp4_values[b[1 + e] >> 4];
        }
    }
}

/* ---- blocks of 256 elements ------------------------------------------------------------------ */

/* Scale and offset of the 32 elements j of a block of Q4_K or Q5_K, of 6 bits each in 12 bytes. */
TV_INLINE void unpack_k_scale(const unsigned char *s, size_t j, unsigned *scale, unsigned *offset)
{
    *scale = j < 4 ? s[j] & 63u : (s[j + 4] & 15u) | (unsigned)(s[j - 4] >> 6) << 4;
    *offset = j < 4 ? s[j + 4] & 63u : (unsigned)s[j + 4] >> 4 | (unsigned)(s[j] >> 6) << 4;
}

/* d scale q - dmin offset, for 32 elements: their code is a nibble, from `shift` on, and the bit
 * `bit` of `high` (NULL: none). */
TV_INLINE void decode_k_run(const unsigned char *restrict q, unsigned shift,
                            const unsigned char *restrict high, size_t bit, float scale,
                            float offset, float *restrict to)
{
    for (size_t l = 0; l < 32; l++) {
        int code = q[l] >> shift & 15;
        if (high)
            code |= (high[l] >> bit & 1) << 4;
        to[l] = scale * (float)code - offset;
    }
}

/* A block of Q4_K, or of Q5_K: bit 4 of the codes j of 32 elements is bit j of 32 bytes. */
TV_INLINE void decode_q4_or_q5_k(const unsigned char *restrict b, const unsigned char *high,
                                 const unsigned char *restrict q, float *restrict to)
{
    float d = half_at(b), dmin = half_at(b + 2);
    for (size_t j = 0; j < 8; j += 2, q += 32, to += 64) {
        unsigned scale[2], offset[2];
        unpack_k_scale(b + 4, j, &scale[0], &offset[0]);
        unpack_k_scale(b + 4, j + 1, &scale[1], &offset[1]);
        decode_k_run(q, 0, high, j, d * (float)(int)scale[0], dmin * (float)(int)offset[0], to);
        decode_k_run(q, 4, high, j + 1, d * (float)(int)scale[1], dmin * (float)(int)offset[1],
                     to + 32);
    }
}

TV_CLONES static void decode_q4_k(const unsigned char *restrict b, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++, b += 144, to += 256)
        decode_q4_or_q5_k(b, NULL, b + 16, to);
}

TV_CLONES static void decode_q5_k(const unsigned char *restrict b, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++, b += 176, to += 256)
        decode_q4_or_q5_k(b, b + 16, b + 48, to);
}

/* In the following, element e of a block has H = e / 128, k = e % 128 / 32, l = e % 32; its code is
 * in bits 2k and 2k + 1 of byte 32 H + l. A scale belongs to 16 elements. */

/* Codes first, in loops over bytes, then products, in loops over 16 elements with one scale. */
TV_INLINE void multiply_codes(const signed char *restrict codes, const float *restrict scales,
                              float *restrict to)
{
    TV_NOT_UNROLLED
    for (size_t run = 0; run < 16; run++)
        TV_NOT_UNROLLED
    for (size_t e = 0; e < 16; e++)
        to[16 * run + e] = scales[run] * (float)codes[16 * run + e];
}

/* Codes of 128 elements of Q6_K, minus 32: the low four bits are nibbles, two more are as above. */
TV_INLINE void unpack_q6_k(const unsigned char *restrict low, const unsigned char *restrict high,
                           signed char *restrict codes)
{
    for (size_t l = 0; l < 32; l++) {
        codes[l] = (signed char)(((low[l] & 15) | (high[l] & 3) << 4) - 32);
        codes[32 + l] = (signed char)(((low[32 + l] & 15) | (high[l] >> 2 & 3) << 4) - 32);
        codes[64 + l] = (signed char)((low[l] >> 4 | (high[l] >> 4 & 3) << 4) - 32);
        codes[96 + l] = (signed char)((low[32 + l] >> 4 | (high[l] >> 6 & 3) << 4) - 32);
    }
}

/* d scale (q - 32) */
TV_CLONES static void decode_q6_k(const unsigned char *restrict b, float *restrict to, size_t n)
{
    signed char codes[256];
    float scales[16];
    for (size_t i = 0; i < n; i++, b += 210, to += 256) {
        float d = half_at(b + 208);
        unpack_q6_k(b, b + 128, codes);
        unpack_q6_k(b + 64, b + 160, codes + 128);
        TV_NOT_UNROLLED
        for (size_t run = 0; run < 16; run++)
            scales[run] = d * (float)(signed char)b[192 + run];
        multiply_codes(codes, scales, to);
    }
}

/* Codes of two bits of 128 elements. */
TV_INLINE void unpack_q2(const unsigned char *restrict q, signed char *restrict codes)
{
    for (size_t l = 0; l < 32; l++) {
        codes[l] = (signed char)(q[l] & 3);
        codes[32 + l] = (signed char)(q[l] >> 2 & 3);
        codes[64 + l] = (signed char)(q[l] >> 4 & 3);
        codes[96 + l] = (signed char)(q[l] >> 6);
    }
}

/* d scale q - dmin offset */
TV_CLONES static void decode_q2_k(const unsigned char *restrict b, float *restrict to, size_t n)
{
    signed char codes[256];
    float scales[16], offsets[16];
    for (size_t i = 0; i < n; i++, b += 84, to += 256) {
        float d = half_at(b + 80), dmin = half_at(b + 82);
        unpack_q2(b + 16, codes);
        unpack_q2(b + 48, codes + 128);
        TV_NOT_UNROLLED
        for (size_t run = 0; run < 16; run++) {
            scales[run] = d * (float)(b[run] & 15);
            offsets[run] = dmin * (float)(b[run] >> 4);
        }
        TV_NOT_UNROLLED
        for (size_t run = 0; run < 16; run++)
            TV_NOT_UNROLLED
        for (size_t e = 0; e < 16; e++)
            to[16 * run + e] = scales[run] * (float)codes[16 * run + e] - offsets[run];
    }
}

/* The same for Q3_K, minus 4 where a bit of the mask, from `bit` on, is clear. */
TV_INLINE void unpack_q3_k(const unsigned char *restrict q, const unsigned char *restrict mask,
                           unsigned bit, signed char *restrict codes)
{
    for (size_t l = 0; l < 32; l++) {
        unsigned m = (unsigned)mask[l] >> bit;
        codes[l] = (signed char)((int)((q[l] & 3) | (m & 1) << 2) - 4);
        codes[32 + l] = (signed char)((int)((q[l] >> 2 & 3) | (m & 2) << 1) - 4);
        codes[64 + l] = (signed char)((int)((q[l] >> 4 & 3) | (m & 4)) - 4);
        codes[96 + l] = (signed char)((int)((unsigned)q[l] >> 6 | (m & 8) >> 1) - 4);
    }
}

/* d (scale - 32) (q - 4 [bit 4 H + k of byte l of the mask is clear]) */
TV_CLONES static void decode_q3_k(const unsigned char *restrict b, float *restrict to, size_t n)
{
    signed char codes[256];
    float scales[16];
    for (size_t i = 0; i < n; i++, b += 110, to += 256) {
        float d = half_at(b + 108);
        unpack_q3_k(b + 32, b, 0, codes);
        unpack_q3_k(b + 64, b, 4, codes + 128);
        for (size_t run = 0; run < 16; run++) {
            int low = b[96 + run % 8] >> 4 * (run / 8) & 15;
            int high = b[104 + run % 4] >> 2 * (run / 4) & 3;
            scales[run] = d * (float)((low | high << 4) - 32);
        }
        multiply_codes(codes, scales, to);
    }
}

/* d q, with d in F32; the last 32 bytes of a block are sums. */
TV_CLONES static void decode_q8_k(const unsigned char *restrict b, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++, b += 292, to += 256) {
        float d = float16_float_from_bits(u32_at(b));
        const signed char *q = (const signed char *)b + 4;
        for (size_t e = 0; e < 256; e++)
            to[e] = d * (float)q[e];
    }
}

/* d (scale - 32) value; a scale of 6 bits belongs to 32 elements, whose codes are as in IQ4_NL. */
static void decode_iq4_xs(const unsigned char *restrict b, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++, b += 136) {
        float d = half_at(b);
        unsigned high = (unsigned)b[2] | (unsigned)b[3] << 8;
        for (size_t j = 0; j < 8; j++, to += 32) {
            const unsigned char *q = b + 8 + 16 * j;
            int scale = (int)((b[4 + j / 2] >> 4 * (j % 2) & 15u) | (high >> 2 * j & 3) << 4);
            float dl = d * (float)(scale - 32);
            TV_NOT_UNROLLED
            for (size_t l = 0; l < 16; l++) {
                to[l] = dl * iq4_values[q[l] & 15];
                to[l + 16] = dl * iq4_values[q[l] >> 4];
            }
        }
    }
}

/* ---- any type -------------------------------------------------------------------------------- */

/* Decodes n whole blocks. */
typedef void block_decoder(const unsigned char *restrict b, float *restrict to, size_t n);

/* NULL: numbers, which have no blocks. */
static block_decoder *const decoders[] = {
    [GGML_TYPE_Q8_0] = decode_q8_0,   [GGML_TYPE_Q4_0] = decode_q4_0,
    [GGML_TYPE_Q4_1] = decode_q4_1,   [GGML_TYPE_Q5_0] = decode_q5_0,
    [GGML_TYPE_Q5_1] = decode_q5_1,   [GGML_TYPE_IQ4_NL] = decode_iq4_nl,
    [GGML_TYPE_MXFP4] = decode_mxfp4, [GGML_TYPE_Q2_K] = decode_q2_k,
    [GGML_TYPE_Q3_K] = decode_q3_k,   [GGML_TYPE_Q4_K] = decode_q4_k,
    [GGML_TYPE_Q5_K] = decode_q5_k,   [GGML_TYPE_Q6_K] = decode_q6_k,
    [GGML_TYPE_Q8_K] = decode_q8_k,   [GGML_TYPE_IQ4_XS] = decode_iq4_xs,
    [GGML_TYPE_F32] = NULL,           [GGML_TYPE_F16] = NULL,
    [GGML_TYPE_BF16] = NULL};

void ggml_blocks_decode(enum ggml_type type, const unsigned char *blocks, size_t first, size_t n,
                        float *to)
{
    const struct ggml_type_info *info = ggml_type_find(type);
    block_decoder *const decode = decoders[type];
    size_t elements = info->elements, begin = first % elements;
    float block[MAX_ELEMENTS];
    if (!decode)
        return;
    blocks += first / elements * info->bytes;
    if (begin > 0 && n > 0) {
        size_t count = elements - begin < n ? elements - begin : n;
        decode(blocks, block, 1);
        memcpy(to, block + begin, count * sizeof *to);
        blocks += info->bytes;
        to += count;
        n -= count;
    }
    decode(blocks, to, n / elements);
    if (n % elements > 0) {
        decode(blocks + n / elements * info->bytes, block, 1);
        memcpy(to + n / elements * elements, block, n % elements * sizeof *to);
    }
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* Writes the codes of 32 elements: x / d, rounded half away from zero. */
TV_INLINE void encode_q8_0_codes(const float *x, float inverse, unsigned char *to)
{
    for (size_t e = 0; e < 32; e++) {
        float scaled = x[e] * inverse, size = fabsf(scaled);
        int whole = (int)size;
        whole += size - (float)whole >= 0.5f;
        to[e] = (unsigned char)(scaled < 0 ? -whole : whole);
    }
}

/* Returns n, or the first block whose scale overflows. */
TV_CLONES static size_t encode_q8_0(const float *restrict x, size_t n, unsigned char *restrict to)
{
    for (size_t i = 0; i < n; i++, x += 32, to += 34) {
        float most = 0;
        for (size_t e = 0; e < 32; e++) {
            float size = fabsf(x[e]);
            most = size > most ? size : most;
        }
        float d = most / 127, inverse = 1 / d;
        uint16_t scale = float16_from_float(d);
        if (scale >= 0x7C00)
            return i;
        /* d is 0, or so small that 1 / d overflows */
        inverse = float16_bits_of_float(inverse) >= 0x7F800000 ? 0 : inverse;
        to[0] = (unsigned char)scale;
        to[1] = (unsigned char)(scale >> 8);
        encode_q8_0_codes(x, inverse, to + 2);
    }
    return n;
}

size_t ggml_blocks_encode_q8_0(const float *x, size_t n, unsigned char *blocks)
{
    return encode_q8_0(x, n / 32, blocks) * 32;
}
