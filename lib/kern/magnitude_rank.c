#include "magnitude_rank.h"

#include "magnitude_bins.h"
#include "magnitude_sort.h"

#define SHORT       32 /* up to this many elements are sorted */
#define PER_BIN     8  /* elements of the row for each bin */
#define FEW         64 /* open elements whose rank is counted in the row */
#define TILE        4096
#define COUNTED_MAX 64 /* for each element of the row: beyond so many comparisons it is sorted */

void magnitude_rank_values(const float *x, size_t n, const float *by_rank, uint64_t *work,
                           float *values)
{
    const uint64_t *order = magnitude_sort_ascending(x, n, work);
    for (size_t rank = 0; rank < n; rank++)
        values[magnitude_sort_index(order[rank])] = by_rank[rank];
}

static void sort_and_mark_below(const float *x, const float *u, size_t n, const float *by_rank,
                                uint64_t *work, unsigned char *below)
{
    const uint64_t *order = magnitude_sort_ascending(x, n, work);
    for (size_t rank = 0; rank < n; rank++) {
        size_t i = magnitude_sort_index(order[rank]);
        below[i] = u[i] < by_rank[rank];
    }
}

/* ---- bins ------------------------------------------------------------------------------------ */

/* A row in bins. The prefix sums of the bins' sizes bound the ranks of their elements. */
struct row {
    struct magnitude_bins bins;
    uint32_t start[MAGNITUDE_BINS_MAX + 1]; /* the lowest rank of each bin */
    /* (n) each: */
    uint32_t *bin;  /* of each element */
    uint32_t *open; /* elements whose comparison is open */
    /* If those are many: the elements bin by bin, and in the order of their indexes the place of
     * each. */
    float *by_bin;
    uint32_t *place;
};

/* Neighbors are often in the same bin: counters of its own for every second element, so that one
 * does not wait for the other. */
static void count_in_bins(struct row *r, const float *x, size_t n)
{
    uint32_t *counts = r->start + 1, odd[MAGNITUDE_BINS_MAX];
    r->bins = magnitude_bins_choose(x, n, n / PER_BIN);
    magnitude_bins_find(r->bins, x, n, r->bin);
    memset(r->start, 0, (r->bins.n + 1) * sizeof *r->start);
    memset(odd, 0, r->bins.n * sizeof *odd);
    for (size_t i = 0; i + 1 < n; i += 2) {
        counts[r->bin[i]]++;
        odd[r->bin[i + 1]]++;
    }
    if (n % 2)
        counts[r->bin[n - 1]]++;
    for (size_t j = 0; j < r->bins.n; j++)
        counts[j] += odd[j];
}

/* Replaces the sizes of the bins by their prefix sums. */
static void bound_ranks_of_bins(struct row *r)
{
    uint32_t start = 0;
    for (size_t j = 0; j < r->bins.n; j++)
        r->start[j + 1] = start += r->start[j + 1];
}

/* below[i] = u[i] < least, and lists the elements with least <= u[i] < most: returns how many. */
typedef size_t list_between(const float *u, size_t n, float least, float most, unsigned char *below,
                            uint32_t *list);

TV_CLONES static void mark_between(const float *restrict u, size_t n, float least, float most,
                                   unsigned char *restrict below, unsigned char *restrict between)
{
    for (size_t i = 0; i < n; i++) {
        below[i] = u[i] < least;
        between[i] = (u[i] >= least) & (u[i] < most);
    }
}

static size_t list_between_plain(const float *u, size_t n, float least, float most,
                                 unsigned char *below, uint32_t *list)
{
    unsigned char between[TILE];
    size_t listed = 0;
    for (size_t first = 0; first < n; first += TILE) {
        size_t m = n - first < TILE ? n - first : TILE;
        mark_between(u + first, m, least, most, below + first, between);
        for (size_t i = 0; i < m; i++) {
            list[listed] = (uint32_t)(first + i);
            listed += between[i];
        }
    }
    return listed;
}

#ifdef TV_AVX512

#include <immintrin.h>

TV_AVX512 static size_t list_between_avx512(const float *u, size_t n, float least, float most,
                                            unsigned char *below, uint32_t *list)
{
    const __m512 leasts = _mm512_set1_ps(least), mosts = _mm512_set1_ps(most);
    __m512i index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    size_t listed = 0;
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 valid = n - i < 16 ? (__mmask16)((1u << (n - i)) - 1) : 0xFFFF;
        __m512 x = _mm512_maskz_loadu_ps(valid, u + i);
        __mmask16 is_below = _mm512_cmp_ps_mask(x, leasts, _CMP_LT_OQ);
        __mmask16 between =
            _mm512_mask_cmp_ps_mask((__mmask16)(valid & ~is_below), x, mosts, _CMP_LT_OQ);
        _mm_mask_storeu_epi8(below + i, valid, _mm_maskz_set1_epi8(is_below, 1));
        _mm512_storeu_si512(list + listed, _mm512_maskz_compress_epi32(between, index));
        listed += (size_t)_mm_popcnt_u32(between);
        index = _mm512_add_epi32(index, _mm512_set1_epi32(16));
    }
    return listed;
}

#endif

static list_between *choose_list_between(void)
{
#ifdef TV_AVX512
    if (TV_HAS_AVX512)
        return list_between_avx512;
#endif
    return list_between_plain;
}

/* Compares the open elements with by_rank of the lowest rank in their bins, and of the highest, and
 * keeps those in the list that remain open; returns how many. */
static size_t compare_with_bounds_of_bins(struct row *r, const float *u, size_t n_open,
                                          const float *by_rank, unsigned char *below)
{
    size_t left = 0;
    for (size_t k = 0; k < n_open; k++) {
        uint32_t i = r->open[k];
        const uint32_t *start = &r->start[r->bin[i]];
        float lowest = by_rank[start[0]], highest = by_rank[start[1] - 1];
        below[i] = u[i] < lowest;
        r->open[left] = i;
        left += (u[i] >= lowest) & (u[i] < highest);
    }
    return left;
}

/* ---- exact ranks ----------------------------------------------------------------------------- */

/* The rank of a bin's element in the bin. */
TV_CLONES static uint32_t count_preceding(const float *x, size_t n, size_t i)
{
    int32_t own = (int32_t)magnitude_bins_bits(x[i]);
    uint32_t preceding = 0;
    for (size_t k = 0; k < i; k++)
        preceding += (int32_t)magnitude_bins_bits(x[k]) <= own;
    for (size_t k = i; k < n; k++)
        preceding += (int32_t)magnitude_bins_bits(x[k]) < own;
    return preceding;
}

static bool counting_is_faster(const struct row *r, size_t n, size_t n_open)
{
    size_t compared = 0;
    for (size_t k = 0; k < n_open; k++) {
        uint32_t j = r->bin[r->open[k]];
        if (!magnitude_bins_is_exact(r->bins, j))
            compared += r->start[j + 1] - r->start[j];
    }
    return compared <= COUNTED_MAX * n;
}

/* The ranks of x[index[0]], ..., x[index[3]] among n elements; the indexes do not descend. Equal
 * elements precede one up to its index, so its bound is one lower from there on. */
TV_CLONES static void count_preceding_four(const float *x, size_t n, const uint32_t index[4],
                                           uint32_t preceding[4])
{
    uint32_t bounds[4], end = 0, p0 = 0, p1 = 0, p2 = 0, p3 = 0;
    for (size_t c = 0; c < 4; c++)
        bounds[c] = magnitude_bins_bits(x[index[c]]) + 1;
    for (size_t c = 0; c <= 4; c++) {
        uint32_t begin = end;
        end = c < 4 ? index[c] : (uint32_t)n;
        for (size_t k = begin; k < end; k++) {
            uint32_t m = magnitude_bins_bits(x[k]);
            p0 += m < bounds[0];
            p1 += m < bounds[1];
            p2 += m < bounds[2];
            p3 += m < bounds[3];
        }
        if (c < 4)
            bounds[c]--;
    }
    preceding[0] = p0;
    preceding[1] = p1;
    preceding[2] = p2;
    preceding[3] = p3;
}

static void compare_with_ranks_in_row(const struct row *r, const float *x, const float *u, size_t n,
                                      size_t n_open, const float *by_rank, unsigned char *below)
{
    for (size_t k = 0; k < n_open; k += 4) {
        uint32_t index[4], ranks[4];
        for (size_t c = 0; c < 4; c++)
            index[c] = r->open[k + c < n_open ? k + c : n_open - 1];
        count_preceding_four(x, n, index, ranks);
        for (size_t c = 0; c < 4; c++)
            below[index[c]] = u[index[c]] < by_rank[ranks[c]];
    }
}

/* Moves the start of each bin to its end. */
static void distribute_to_bins(struct row *r, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t place = r->start[r->bin[i]]++;
        r->place[i] = place;
        r->by_bin[place] = x[i];
    }
}

static void compare_with_ranks_in_bins(struct row *r, const float *x, const float *u, size_t n,
                                       size_t n_open, const float *by_rank, unsigned char *below)
{
    distribute_to_bins(r, x, n);
    for (size_t k = 0; k < n_open; k++) {
        uint32_t i = r->open[k], j = r->bin[i], start = j ? r->start[j - 1] : 0;
        uint32_t rank = r->place[i];
        if (!magnitude_bins_is_exact(r->bins, j))
            rank = start + count_preceding(r->by_bin + start, r->start[j] - start, rank - start);
        below[i] = u[i] < by_rank[rank];
    }
}

void magnitude_rank_mark_below(const float *x, const float *u, size_t n, const float *by_rank,
                               uint64_t *work, unsigned char *below)
{
    uint32_t *numbers = (uint32_t *)work;
    struct row r;
    if (n <= SHORT) {
        sort_and_mark_below(x, u, n, by_rank, work, below);
        return;
    }
    r.bin = numbers;
    r.open = numbers + n;
    r.by_bin = (float *)(numbers + 2 * n);
    r.place = numbers + 3 * n;
    size_t n_open = choose_list_between()(u, n, by_rank[0], by_rank[n - 1], below, r.open);
    if (n_open > FEW) {
        count_in_bins(&r, x, n);
        bound_ranks_of_bins(&r);
        n_open = compare_with_bounds_of_bins(&r, u, n_open, by_rank, below);
    }
    if (n_open <= FEW)
        compare_with_ranks_in_row(&r, x, u, n, n_open, by_rank, below);
    else if (counting_is_faster(&r, n, n_open))
        compare_with_ranks_in_bins(&r, x, u, n, n_open, by_rank, below);
    else
        sort_and_mark_below(x, u, n, by_rank, work, below);
}
