#include "random.h"

#include "explog.h"
#include "simd.h"

#include <math.h>
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

/* ---- normal numbers -------------------------------------------------------------------------- */

/* Phi^-1(0.5 + q), |q| <= 0.425; r = 0.425^2 - q^2 */
TV_INLINE double normal_quantile_center(double q)
{
    double r = 0.180625 - q * q;
    double above =
        ((5.9109374720e+01 * r + 1.5929113202e+02) * r + 5.0434271938e+01) * r + 3.3871327179e+00;
    double below = ((6.7187563600e+01 * r + 7.8757757664e+01) * r + 1.7895169469e+01) * r + 1;
    return q * above / below;
}

/* -Phi^-1(p), p < 0.075; r = sqrt(-ln p) */
TV_INLINE double normal_quantile_tail(double r)
{
    double s = r <= 5 ? r - 1.6 : r - 5;
    double above = r <= 5 ? ((1.7023821103e-01 * s + 1.3067284816e+00) * s + 2.7568153900e+00) * s +
                                1.4234372777e+00
                          : ((1.7337203997e-02 * s + 4.2868294337e-01) * s + 3.0812263860e+00) * s +
                                6.6579051150e+00;
    double below = r <= 5 ? (1.2021132975e-01 * s + 7.3700164250e-01) * s + 1
                          : (1.2258202635e-02 * s + 2.4197894225e-01) * s + 1;
    return above / below;
}

void random_fill_normal(uint64_t seed, uint64_t stream, uint64_t first, size_t n, float *x)
{
    double logs[4 * BATCH];
    random_fill_uniform(seed, stream, first, n, x);
    for (size_t done = 0; done < n; done += 4 * BATCH) {
        size_t m = n - done < 4 * BATCH ? n - done : 4 * BATCH;
        float *u = x + done;
        for (size_t j = 0; j < m; j++) {
            double p = (double)u[j] + 0x1p-25;
            logs[j] = p < 0.5 ? p : 1 - p;
        }
        explog_log(logs, logs, m);
        for (size_t j = 0; j < m; j++) {
            double q = (double)u[j] + 0x1p-25 - 0.5;
            double tail = normal_quantile_tail(sqrt(-logs[j]));
            u[j] = (float)(fabs(q) <= 0.425 ? normal_quantile_center(q) : q < 0 ? -tail : tail);
        }
    }
}
