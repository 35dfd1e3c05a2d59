#include "magnitude_scan.h"

#define TILE MAGNITUDE_SCAN_TILE
#define BINS MAGNITUDE_SCAN_BINS

TV_CLONES void magnitude_scan_sample(const float *restrict x, size_t n, size_t stride,
                                     magnitude *restrict sample)
{
    for (size_t i = 0; i < n; i++)
        sample[i] = magnitude_of(x[i * stride]);
}

/* ---- brackets ------------------------------------------------------------------------------- */

/* Counts the elements of a tile and writes those inside to `list`: returns how many. */
typedef size_t list_tile(const float *x, size_t n, magnitude low, magnitude high, uint32_t offset,
                         struct magnitude_counts *counts, struct magnitude_candidates list);

/* Counts, and if any element is inside the bracket, sets inside[i] to 1 for those, to 0 for others.
 */
TV_CLONES static void count_and_mark_elements(const float *restrict x, size_t n, magnitude low,
                                              magnitude high, uint8_t *restrict inside,
                                              struct magnitude_counts *counts)
{
    uint32_t above_high = 0, above_low = 0, equal = 0;
    for (size_t i = 0; i < n; i++) {
        magnitude m = magnitude_of(x[i]);
        above_high += m > high;
        above_low += m > low;
        equal += m == low;
    }
    counts->larger += above_high;
    counts->inside += above_low - above_high;
    counts->equal_low += equal;
    for (size_t i = 0; i < n && above_low > above_high; i++) {
        magnitude m = magnitude_of(x[i]);
        inside[i] = (m > low) & (m <= high);
    }
}

static size_t list_tile_plain(const float *x, size_t n, magnitude low, magnitude high,
                              uint32_t offset, struct magnitude_counts *counts,
                              struct magnitude_candidates list)
{
    uint8_t inside[TILE + 8] = {0};
    size_t listed = 0;
    count_and_mark_elements(x, n, low, high, inside, counts);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t eight;
        memcpy(&eight, inside + i, sizeof eight);
        for (; eight; eight &= eight - 1) {
            size_t j = i + (size_t)__builtin_ctzll(eight) / 8;
            list.bits[listed] = magnitude_of(x[j]);
            list.offset[listed++] = offset + (uint32_t)j;
        }
    }
    return listed;
}

#ifdef TV_AVX512

#include <immintrin.h>

/* The counters of larger and of equal elements, and the offsets of the elements inside. */
struct scan {
    __m512i larger, equal, offsets;
};

TV_AVX512 TV_INLINE size_t scan_sixteen(struct scan *s, __mmask16 valid, __m512i x, __m512i low,
                                        __m512i high, uint32_t *offsets)
{
    const __m512i one = _mm512_set1_epi32(1);
    __m512i m = _mm512_and_epi32(x, _mm512_set1_epi32(0x7FFFFFFF));
    __mmask16 larger = _mm512_mask_cmpgt_epi32_mask(valid, m, high);
    __mmask16 inside = _mm512_mask_cmpgt_epi32_mask((__mmask16)(valid & ~larger), m, low);
    __mmask16 equal = _mm512_mask_cmpeq_epi32_mask(valid, m, low);
    s->larger = _mm512_mask_add_epi32(s->larger, larger, s->larger, one);
    s->equal = _mm512_mask_add_epi32(s->equal, equal, s->equal, one);
    _mm512_storeu_si512(offsets, _mm512_maskz_compress_epi32(inside, s->offsets));
    s->offsets = _mm512_add_epi32(s->offsets, _mm512_set1_epi32(16));
    return (size_t)_mm_popcnt_u32(inside);
}

TV_AVX512 static size_t list_tile_avx512(const float *x, size_t n, magnitude low, magnitude high,
                                         uint32_t offset, struct magnitude_counts *counts,
                                         struct magnitude_candidates list)
{
    const __m512i lows = _mm512_set1_epi32(low), highs = _mm512_set1_epi32(high);
    const __m512i indices = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    struct scan s = {_mm512_setzero_si512(), _mm512_setzero_si512(),
                     _mm512_add_epi32(_mm512_set1_epi32((int)offset), indices)};
    size_t i = 0, listed = 0;
    for (; i + 16 <= n; i += 16)
        listed +=
            scan_sixteen(&s, 0xFFFF, _mm512_loadu_si512(x + i), lows, highs, list.offset + listed);
    __mmask16 rest = (__mmask16)((1u << (n - i)) - 1);
    listed += scan_sixteen(&s, rest, _mm512_maskz_loadu_epi32(rest, x + i), lows, highs,
                           list.offset + listed);
    for (size_t j = 0; j < listed; j++)
        list.bits[j] = magnitude_of(x[list.offset[j] - offset]);
    counts->larger += (size_t)_mm512_reduce_add_epi32(s.larger);
    counts->inside += listed;
    counts->equal_low += (size_t)_mm512_reduce_add_epi32(s.equal);
    return listed;
}

#endif

static list_tile *choose_list_tile(void)
{
#ifdef TV_AVX512
    if (TV_HAS_AVX512)
        return list_tile_avx512;
#endif
    return list_tile_plain;
}

size_t magnitude_scan_list_in_bracket(const float *x, size_t n, magnitude low, magnitude high,
                                      size_t list_max, struct magnitude_counts *counts,
                                      struct magnitude_candidates list)
{
    list_tile *list_one = choose_list_tile();
    size_t listed = 0;
    for (size_t i = 0; i < n; i += TILE) {
        size_t m = n - i < TILE ? n - i : TILE;
        struct magnitude_candidates end = {list.bits + listed, list.offset + listed};
        size_t of_tile = list_one(x + i, m, low, high, (uint32_t)i, counts, end);
        listed += counts->inside <= list_max ? of_tile : 0;
    }
    return listed;
}

/* ---- histograms ----------------------------------------------------------------------------- */

unsigned magnitude_scan_bin_shift(magnitude low, magnitude high)
{
    unsigned shift = 0;
    while ((uint32_t)(high - low) >> shift >= BINS)
        shift++;
    return shift;
}

uint64_t magnitude_scan_histogram(const float *x, size_t n, magnitude low, magnitude high,
                                  uint32_t *bins)
{
    uint32_t start = (uint32_t)low, width = (uint32_t)high - start;
    unsigned shift = magnitude_scan_bin_shift(low, high);
    uint64_t larger = 0;
    memset(bins, 0, (BINS + 1) * sizeof *bins);
    for (size_t i = 0; i < n; i++) {
        magnitude m = magnitude_of(x[i]);
        uint32_t distance = (uint32_t)m - start, is_inside = -(uint32_t)(distance <= width);
        bins[(distance >> shift & is_inside) | (BINS & ~is_inside)]++;
        larger += m > high;
    }
    return larger;
}

/* ---- single elements ------------------------------------------------------------------------ */

size_t magnitude_scan_find_equal(const float *x, size_t n, magnitude bits, uint64_t rank)
{
    for (size_t i = 0; i < n; i++)
        if (magnitude_of(x[i]) == bits && --rank == 0)
            return i;
    return n;
}

TV_CLONES static uint64_t count_larger(const magnitude *m, size_t n, magnitude bound)
{
    uint64_t larger = 0;
    for (size_t i = 0; i < n; i += TILE) {
        size_t end = n - i < TILE ? n : i + TILE;
        uint32_t of_tile = 0;
        for (size_t j = i; j < end; j++)
            of_tile += m[j] > bound;
        larger += of_tile;
    }
    return larger;
}

/* Bisects the range. */
struct magnitude_order_statistic magnitude_scan_nth_largest(const magnitude *m, size_t n,
                                                            magnitude low, magnitude high,
                                                            uint64_t rank)
{
    uint64_t larger_than_low = n, larger_than_high = 0;
    while (high != low + 1) {
        magnitude middle = low + (magnitude)(((uint32_t)high - (uint32_t)low) / 2);
        uint64_t larger = count_larger(m, n, middle);
        *(larger >= rank ? &low : &high) = middle;
        *(larger >= rank ? &larger_than_low : &larger_than_high) = larger;
    }
    return (struct magnitude_order_statistic){high, larger_than_high,
                                              larger_than_low - larger_than_high};
}
