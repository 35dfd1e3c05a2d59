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

/* Counts the elements of a tile: counts = {|x| > high, |x| > low, |x| == low}. */
TV_CLONES static void count_tile_against_bracket(const float *restrict x, size_t n, magnitude low,
                                                 magnitude high, uint32_t *counts)
{
    uint32_t above_high = 0, above_low = 0, equal = 0;
    for (size_t i = 0; i < n; i++) {
        magnitude m = magnitude_of(x[i]);
        above_high += m > high;
        above_low += m > low;
        equal += m == low;
    }
    counts[0] = above_high;
    counts[1] = above_low;
    counts[2] = equal;
}

/* inside[i] = 1 if low < |x[i]| <= high, else 0 */
TV_CLONES static void mark_elements_in_bracket(const float *restrict x, size_t n, magnitude low,
                                               magnitude high, uint8_t *restrict inside)
{
    for (size_t i = 0; i < n; i++) {
        magnitude m = magnitude_of(x[i]);
        inside[i] = (m > low) & (m <= high);
    }
}

/* Lists the marked elements of a tile; `inside` is padded with zeros to a multiple of eight. */
static size_t list_marked_elements(const float *x, size_t n, const uint8_t *inside, size_t offset,
                                   struct magnitude_candidate *to)
{
    size_t listed = 0;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t eight;
        memcpy(&eight, inside + i, sizeof eight);
        for (size_t j = i; eight && j < i + 8 && j < n; j++) {
            to[listed] = (struct magnitude_candidate){magnitude_of(x[j]), (uint32_t)(offset + j)};
            listed += inside[j];
        }
    }
    return listed;
}

size_t magnitude_scan_list_in_bracket(const float *x, size_t n, magnitude low, magnitude high,
                                      size_t list_max, struct magnitude_counts *counts,
                                      struct magnitude_candidate *list)
{
    uint8_t inside[TILE + 8];
    size_t listed = 0;
    for (size_t i = 0; i < n; i += TILE) {
        size_t m = n - i < TILE ? n - i : TILE;
        uint32_t tile[3];
        count_tile_against_bracket(x + i, m, low, high, tile);
        counts->larger += tile[0];
        counts->inside += tile[1] - tile[0];
        counts->equal_low += tile[2];
        if (tile[1] == tile[0] || counts->inside > list_max)
            continue;
        mark_elements_in_bracket(x + i, m, low, high, inside);
        memset(inside + m, 0, 8);
        listed += list_marked_elements(x + i, m, inside, i, list + listed);
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

/* Finds the 31 bits in three steps of 11, 10 and 10, by counting the magnitudes that share the bits
 * found so far. */
magnitude magnitude_scan_nth_largest(const magnitude *m, size_t n, size_t stride, uint64_t rank)
{
    static const unsigned shifts[] = {20, 10, 0};
    magnitude prefix = 0;
    for (size_t d = 0; d < 3; d++) {
        uint64_t counts[2048] = {0};
        unsigned known = d ? shifts[d - 1] : 31;
        size_t digit = d ? 1023 : 2047;
        for (size_t i = 0; i < n; i++) {
            uint32_t u = (uint32_t)m[i * stride];
            if (u >> known == (uint32_t)prefix >> known)
                counts[u >> shifts[d] & digit]++;
        }
        while (digit > 0 && rank > counts[digit])
            rank -= counts[digit--];
        prefix |= (magnitude)(digit << shifts[d]);
    }
    return prefix;
}
