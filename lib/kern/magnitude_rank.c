#include "magnitude_rank.h"

#include "magnitude_bins.h"
#include "magnitude_sort.h"

#define SHORT       32 /* up to this many elements are sorted */
#define PER_BIN     8  /* elements of the row for each bin */
#define FEW         24 /* open elements whose rank is counted in the row */
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

/* by_rank of the lowest rank in a bin, and of the highest. */
struct bounds {
    float lowest, highest;
};

/* A row in bins. The prefix sums of the bins' sizes bound the ranks of their elements. */
struct row {
    struct magnitude_bins bins;
    uint32_t start[MAGNITUDE_BINS_MAX + 1]; /* the lowest rank of each bin */
    struct bounds bounds[MAGNITUDE_BINS_MAX];
    /* (n) each: */
    uint32_t *bin;  /* of each element */
    uint32_t *open; /* elements whose bounds leave the comparison open */
    /* If those are many: the elements bin by bin, and in the order of their indexes the place of
     * each. */
    float *by_bin;
    uint32_t *place;
};

static void count_in_bins(struct row *r, const float *x, size_t n)
{
    uint32_t *counts = r->start + 1;
    r->bins = magnitude_bins_choose(x, n, n / PER_BIN);
    magnitude_bins_find(r->bins, x, n, r->bin);
    memset(r->start, 0, (r->bins.n + 1) * sizeof *r->start);
    for (size_t i = 0; i < n; i++)
        counts[r->bin[i]]++;
}

/* Replaces the sizes of the bins by their prefix sums. */
static void bound_ranks_of_bins(struct row *r, size_t n, const float *by_rank)
{
    uint32_t last = (uint32_t)n - 1;
    for (size_t j = 0; j < r->bins.n; j++) {
        uint32_t start = r->start[j], end = start + r->start[j + 1];
        r->bounds[j].lowest = by_rank[start < last ? start : last]; /* an empty bin has any */
        r->bounds[j].highest = by_rank[end ? end - 1 : 0];
        r->start[j + 1] = end;
    }
}

/* below[i], and whether u[i] lies between the bounds of the element's bin. */
TV_CLONES static void compare_with_bounds(const struct bounds *restrict bounds,
                                          const uint32_t *restrict bin, const float *restrict u,
                                          size_t n, unsigned char *restrict below,
                                          unsigned char *restrict between)
{
    for (size_t i = 0; i < n; i++) {
        struct bounds b = bounds[bin[i]];
        below[i] = u[i] < b.lowest;
        between[i] = (u[i] >= b.lowest) & (u[i] < b.highest);
    }
}

/* Lists the elements whose byte is 1; returns how many. */
static size_t list_elements(unsigned char *marks, size_t n, uint32_t *list)
{
    size_t listed = 0;
    memset(marks + n, 0, (8 - n % 8) % 8);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t eight;
        memcpy(&eight, marks + i, sizeof eight);
        for (; eight; eight &= eight - 1)
            list[listed++] = (uint32_t)(i + (size_t)__builtin_ctzll(eight) / 8);
    }
    return listed;
}

/* ---- exact ranks ----------------------------------------------------------------------------- */

/* The rank of x[i] among n elements, or of a bin's element in the bin. */
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

static void compare_with_ranks_in_row(const struct row *r, const float *x, const float *u, size_t n,
                                      size_t n_open, const float *by_rank, unsigned char *below)
{
    for (size_t k = 0; k < n_open; k++) {
        uint32_t i = r->open[k];
        below[i] = u[i] < by_rank[count_preceding(x, n, i)];
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
    count_in_bins(&r, x, n);
    bound_ranks_of_bins(&r, n, by_rank);
    unsigned char *between = (unsigned char *)r.by_bin; /* which is not filled yet */
    compare_with_bounds(r.bounds, r.bin, u, n, below, between);
    size_t n_open = list_elements(between, n, r.open);
    if (n_open <= FEW)
        compare_with_ranks_in_row(&r, x, u, n, n_open, by_rank, below);
    else if (counting_is_faster(&r, n, n_open))
        compare_with_ranks_in_bins(&r, x, u, n, n_open, by_rank, below);
    else
        sort_and_mark_below(x, u, n, by_rank, work, below);
}
