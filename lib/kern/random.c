#include "random.h"

#include "explog.h"
#include "philox.h"
#include "simd.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define BATCH 256 /* normal numbers at a time */

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

void random_fill_uniform(uint64_t seed, uint64_t stream, uint64_t first, size_t n, float *u)
{
    float drawn[4 * PHILOX_BATCH];
    while (n > 0) {
        size_t skip = first % 4, m = 4 * PHILOX_BATCH - skip < n ? 4 * PHILOX_BATCH - skip : n;
        bool is_whole = m == 4 * PHILOX_BATCH;
        philox_draw_uniform_batch(seed, stream, first / 4, is_whole ? u : drawn);
        if (!is_whole)
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
    double logs[BATCH];
    random_fill_uniform(seed, stream, first, n, x);
    for (size_t done = 0; done < n; done += BATCH) {
        size_t m = n - done < BATCH ? n - done : BATCH;
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
