#include "random.h"

#include "simd.h"

#include <string.h>

#define BATCH 64 /* counters per batch; each gives four words */

static uint64_t hash_bytes_fnv1a(uint64_t hash, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001B3;
    return hash;
}

uint64_t random_stream_number_of_tensor(const char *model, const char *tensor)
{
    uint64_t hash = hash_bytes_fnv1a(0xCBF29CE484222325, model, strlen(model) + 1);
    return hash_bytes_fnv1a(hash, tensor, strlen(tensor));
}

/* One round of Philox4x32: two products, whose halves are swapped. */
TV_INLINE void philox_round(uint32_t c[4], uint32_t key0, uint32_t key1)
{
    uint64_t p = (uint64_t)c[0] * 0xD2511F53, q = (uint64_t)c[2] * 0xCD9E8D57;
    c[0] = (uint32_t)(q >> 32) ^ c[1] ^ key0;
    c[1] = (uint32_t)q;
    c[2] = (uint32_t)(p >> 32) ^ c[3] ^ key1;
    c[3] = (uint32_t)p;
}

/* u = the top 24 bits of each word, divided by 2^24, for BATCH counters. */
TV_CLONES static void draw_uniform_batch(uint64_t seed, uint64_t stream, uint64_t counter,
                                         float *restrict u)
{
    uint32_t words[4][BATCH], keys[10][2];
    for (uint32_t r = 0; r < 10; r++) {
        keys[r][0] = (uint32_t)seed + r * 0x9E3779B9;
        keys[r][1] = (uint32_t)(seed >> 32) + r * 0xBB67AE85;
    }
    for (size_t j = 0; j < BATCH; j++) {
        words[0][j] = (uint32_t)(counter + j);
        words[1][j] = (uint32_t)((counter + j) >> 32);
    }
    for (size_t j = 0; j < BATCH; j++) {
        uint32_t c[4] = {words[0][j], words[1][j], (uint32_t)stream, (uint32_t)(stream >> 32)};
#pragma GCC unroll 10
        for (size_t r = 0; r < 10; r++)
            philox_round(c, keys[r][0], keys[r][1]);
        for (size_t w = 0; w < 4; w++)
            words[w][j] = c[w];
    }
    for (size_t j = 0; j < BATCH; j++)
        for (size_t w = 0; w < 4; w++)
            u[4 * j + w] = (float)(int32_t)(words[w][j] >> 8) * 0x1p-24f;
}

void random_fill_uniform(uint64_t seed, uint64_t stream, uint64_t first, size_t n, float *u)
{
    float drawn[4 * BATCH];
    while (n > 0) {
        size_t skip = first % 4, m = 4 * BATCH - skip < n ? 4 * BATCH - skip : n;
        draw_uniform_batch(seed, stream, first / 4, drawn);
        memcpy(u, drawn + skip, m * sizeof *u);
        u += m;
        first += m;
        n -= m;
    }
}
