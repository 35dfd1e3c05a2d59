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

/* ---- vectors --------------------------------------------------------------------------------- */

#ifdef TV_AVX2

#include <immintrin.h>

#define LANES                4
#define TARGET               TV_AVX2
#define NAME(name)           name##_avx2
#define MULTIPLY_WORDS(a, b) _mm256_mul_epu32((__m256i)(a), (__m256i)(b))
#define COUNTER_ORDER        0, 2, 1, 3
#define FIRST_WORDS          0, 4, 2, 6
#define SECOND_WORDS         1, 5, 3, 7
#include "philox_lanes.h"

#define LANES                8
#define TARGET               TV_AVX512
#define NAME(name)           name##_avx512
#define MULTIPLY_WORDS(a, b) _mm512_mul_epu32((__m512i)(a), (__m512i)(b))
#define COUNTER_ORDER        0, 4, 1, 5, 2, 6, 3, 7
#define FIRST_WORDS          0, 8, 2, 10, 4, 12, 6, 14
#define SECOND_WORDS         1, 9, 3, 11, 5, 13, 7, 15
#include "philox_lanes.h"

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
