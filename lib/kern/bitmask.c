#include "bitmask.h"

#include <math.h>

#define STRIP 1024 /* elements processed at a time */

/* ---- plain ----------------------------------------------------------------------------------- */

TV_CLONES static void mark_below_plain(const float *restrict u, float bound, size_t n,
                                       unsigned char *restrict bits)
{
    unsigned char bytes[STRIP];
    for (size_t i = 0; i < n; i += STRIP) {
        size_t m = n - i < STRIP ? n - i : STRIP;
        for (size_t j = 0; j < m; j++)
            bytes[j] = u[i + j] < bound;
        bitmask_pack(bytes, m, bits + i / 8);
    }
}

TV_CLONES static void keep_marked_plain(const float *x, const unsigned char *bits, size_t n,
                                        float *y)
{
    unsigned char bytes[STRIP];
    for (size_t i = 0; i < n; i += STRIP) {
        size_t m = n - i < STRIP ? n - i : STRIP;
        bitmask_unpack(bits + i / 8, m, bytes);
        TV_INDEPENDENT
        for (size_t j = 0; j < m; j++)
            y[i + j] = bytes[j] ? x[i + j] : 0.0f;
    }
}

/* ---- AVX-512, whose masks are bits ----------------------------------------------------------- */

#ifdef TV_AVX512

#include <immintrin.h>

/* Both return how many elements, a multiple of 16, they have done. */

TV_AVX512 static size_t mark_below_avx512(const float *u, float bound, size_t n,
                                          unsigned char *bits)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __mmask16 below =
            _mm512_cmp_ps_mask(_mm512_loadu_ps(u + i), _mm512_set1_ps(bound), _CMP_LT_OQ);
        memcpy(bits + i / 8, &below, sizeof below);
    }
    return i;
}

TV_AVX512 static size_t keep_marked_avx512(const float *x, const unsigned char *bits, size_t n,
                                           float *y)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __mmask16 marked;
        memcpy(&marked, bits + i / 8, sizeof marked);
        _mm512_storeu_ps(y + i, _mm512_maskz_loadu_ps(marked, x + i));
    }
    return i;
}

#endif

/* ---- both ------------------------------------------------------------------------------------ */

void bitmask_mark_below(const float *u, double bound, size_t n, unsigned char *bits)
{
    size_t done = 0;
    /* For a float u, u < bound is equivalent to u < the smallest float that is >= bound. */
    float float_bound = (float)bound;
    if ((double)float_bound < bound)
        float_bound = nextafterf(float_bound, INFINITY);
#ifdef TV_AVX512
    if (TV_HAS_AVX512)
        done = mark_below_avx512(u, float_bound, n, bits);
#endif
    mark_below_plain(u + done, float_bound, n - done, bits + done / 8);
}

void bitmask_keep_marked(const float *x, const unsigned char *bits, size_t n, float *y)
{
    size_t done = 0;
#ifdef TV_AVX512
    if (TV_HAS_AVX512)
        done = keep_marked_avx512(x, bits, n, y);
#endif
    keep_marked_plain(x + done, bits + done / 8, n - done, y + done);
}
