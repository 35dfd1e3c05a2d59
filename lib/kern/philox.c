#include "philox.h"

#include "simd.h"

#include <stddef.h>

#define ROUNDS      10
#define MULTIPLIER0 0xD2511F53
#define MULTIPLIER1 0xCD9E8D57

TV_INLINE uint32_t round_key0(uint64_t seed, uint32_t round)
{
    return (uint32_t)seed + round * 0x9E3779B9;
}

TV_INLINE uint32_t round_key1(uint64_t seed, uint32_t round)
{
    return (uint32_t)(seed >> 32) + round * 0xBB67AE85;
}

/* ---- plain ----------------------------------------------------------------------------------- */

/* One round: two products, whose halves are swapped. */
TV_INLINE void philox_round(uint32_t c[4], uint32_t key0, uint32_t key1)
{
    uint64_t p = (uint64_t)c[0] * MULTIPLIER0, q = (uint64_t)c[2] * MULTIPLIER1;
    c[0] = (uint32_t)(q >> 32) ^ c[1] ^ key0;
    c[1] = (uint32_t)q;
    c[2] = (uint32_t)(p >> 32) ^ c[3] ^ key1;
    c[3] = (uint32_t)p;
}

TV_HOT static void draw_plain(uint64_t seed, uint64_t stream, uint64_t counter, float *restrict u)
{
    uint32_t words[4][PHILOX_BATCH];
    for (size_t j = 0; j < PHILOX_BATCH; j++) {
        words[0][j] = (uint32_t)(counter + j);
        words[1][j] = (uint32_t)((counter + j) >> 32);
    }
    for (size_t j = 0; j < PHILOX_BATCH; j++) {
        uint32_t c[4] = {words[0][j], words[1][j], (uint32_t)stream, (uint32_t)(stream >> 32)};
#pragma GCC unroll 10
        for (uint32_t r = 0; r < ROUNDS; r++)
            philox_round(c, round_key0(seed, r), round_key1(seed, r));
        for (size_t w = 0; w < 4; w++)
            words[w][j] = c[w];
    }
    for (size_t j = 0; j < PHILOX_BATCH; j++)
        for (size_t w = 0; w < 4; w++)
            u[4 * j + w] = (float)(int32_t)(words[w][j] >> 8) * 0x1p-24f;
}

/* ---- AVX2 ------------------------------------------------------------------------------------ */

#ifdef TV_AVX2

#include <immintrin.h>

/* A word of four counters, each in the lower half of a lane: that half is what vpmuludq multiplies.
 * The upper halves hold anything. */
typedef uint64_t lanes __attribute__((vector_size(32)));
typedef uint32_t words __attribute__((vector_size(32)));
typedef float floats __attribute__((vector_size(32), aligned(4)));

/* Groups of four counters side by side, since a round waits for the products before it. */
#define GROUPS 4

TV_AVX2 TV_INLINE lanes all(uint64_t x)
{
    return (lanes){x, x, x, x};
}

TV_AVX2 TV_INLINE lanes multiply_words(lanes a, lanes b)
{
    return (lanes)_mm256_mul_epu32((__m256i)a, (__m256i)b);
}

TV_AVX2 TV_INLINE void philox_round_of_lanes(lanes c[4], lanes key0, lanes key1)
{
    lanes p = multiply_words(c[0], all(MULTIPLIER0)), q = multiply_words(c[2], all(MULTIPLIER1));
    c[0] = (q >> 32) ^ c[1] ^ key0;
    c[1] = q;
    c[2] = (p >> 32) ^ c[3] ^ key1;
    c[3] = p;
}

TV_AVX2 TV_INLINE void store_uniform(lanes w, float *u)
{
    typedef int32_t signed_words __attribute__((vector_size(32)));
    signed_words bits = (signed_words)((words)w >> 8);
    *(floats *)u = __builtin_convertvector(bits, floats) * 0x1p-24f;
}

/* The lanes are counters 0, 2, 1, 3, so that two shuffles put 16 words in order. */
TV_AVX2 TV_INLINE void store_words(const lanes c[4], float *u)
{
    lanes w01 = (c[0] & all(UINT32_MAX)) | c[1] << 32, w23 = (c[2] & all(UINT32_MAX)) | c[3] << 32;
    store_uniform(__builtin_shuffle(w01, w23, (lanes){0, 4, 2, 6}), u);
    store_uniform(__builtin_shuffle(w01, w23, (lanes){1, 5, 3, 7}), u + 8);
}

TV_AVX2 TV_INLINE void draw_in_lanes(uint64_t seed, uint64_t stream, uint64_t counter, float *u)
{
    lanes keys[ROUNDS][2];
    for (uint32_t r = 0; r < ROUNDS; r++) {
        keys[r][0] = all(round_key0(seed, r));
        keys[r][1] = all(round_key1(seed, r));
    }
    for (size_t j = 0; j < PHILOX_BATCH; j += 4 * GROUPS) {
        lanes c[GROUPS][4];
#pragma GCC unroll 4
        for (size_t g = 0; g < GROUPS; g++) {
            c[g][0] = all(counter + j + 4 * g) + (lanes){0, 2, 1, 3};
            c[g][1] = c[g][0] >> 32;
            c[g][2] = all(stream);
            c[g][3] = c[g][2] >> 32;
        }
#pragma GCC unroll 10
        for (uint32_t r = 0; r < ROUNDS; r++)
#pragma GCC unroll 4
            for (size_t g = 0; g < GROUPS; g++)
                philox_round_of_lanes(c[g], keys[r][0], keys[r][1]);
#pragma GCC unroll 4
        for (size_t g = 0; g < GROUPS; g++)
            store_words(c[g], u + 4 * (j + 4 * g));
    }
}

TV_AVX2 static void draw_avx2(uint64_t seed, uint64_t stream, uint64_t counter, float *u)
{
    draw_in_lanes(seed, stream, counter, u);
}

/* Two exclusive ors in one instruction, and 32 registers. */
TV_AVX512 static void draw_avx512(uint64_t seed, uint64_t stream, uint64_t counter, float *u)
{
    draw_in_lanes(seed, stream, counter, u);
}

#endif

void philox_draw_uniform_batch(uint64_t seed, uint64_t stream, uint64_t counter,
                               float u[4 * PHILOX_BATCH])
{
#ifdef TV_AVX2
    if (TV_HAS_AVX512)
        draw_avx512(seed, stream, counter, u);
    else if (TV_HAS_AVX2)
        draw_avx2(seed, stream, counter, u);
    else
#endif
        draw_plain(seed, stream, counter, u);
}
