#include "magnitude_sort.h"

#include "magnitude_bins.h"

/* The upper half of a key is the bits of |x|, which as unsigned numbers are ordered like |x|; the
 * lower half is the index. */

#define SHORT      32   /* up to this many keys: insertion sort */
#define LONG       1024 /* from this many keys on: radix sort with digits of 11 bits, else of 8 */
#define WIDTH_MAX  11
#define DIGITS_MAX 4

/* Digit d of a 31-bit magnitude. */
TV_INLINE size_t extract_key_digit(uint64_t key, size_t d, size_t width)
{
    return key >> (32 + width * d) & (((size_t)1 << width) - 1);
}

TV_INLINE uint64_t make_key(float x, size_t i)
{
    return (uint64_t)magnitude_bins_bits(x) << 32 | i;
}

static void insertion_sort(uint64_t *keys, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint64_t key = keys[i];
        size_t j = i;
        for (; j > 0 && keys[j - 1] > key; j--)
            keys[j] = keys[j - 1];
        keys[j] = key;
    }
}

/* Sorts by digits from the lowest on. The sort is stable, so keys of equal magnitude stay in the
 * order of their indexes. Returns the array (`from` or `to`) that holds the result. */
TV_INLINE uint64_t *radix_sort(uint64_t *from, uint64_t *to, size_t n, size_t width)
{
    uint32_t count[DIGITS_MAX][1 << WIDTH_MAX];
    size_t digits = 31 / width + (31 % width != 0);
    for (size_t d = 0; d < digits; d++)
        memset(count[d], 0, sizeof **count << width);
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < digits; d++)
            count[d][extract_key_digit(from[i], d, width)]++;
    for (size_t d = 0; d < digits; d++) {
        uint32_t *position = count[d], next = 0;
        if (position[extract_key_digit(from[0], d, width)] == n) /* all keys have the same digit */
            continue;
        for (size_t v = 0; v < (size_t)1 << width; v++) {
            uint32_t keys = position[v];
            position[v] = next;
            next += keys;
        }
        for (size_t i = 0; i < n; i++)
            to[position[extract_key_digit(from[i], d, width)]++] = from[i];
        uint64_t *sorted = to;
        to = from;
        from = sorted;
    }
    return from;
}

/* Sorts n > SHORT keys; `spare` has space for as many. Equal magnitudes, which are common in rows
 * of small deltas, are in order already. */
static void sort_bin(uint64_t *keys, uint64_t *spare, size_t n)
{
    size_t i = 1;
    while (i < n && keys[i - 1] < keys[i])
        i++;
    if (i >= n)
        return;
    uint64_t *sorted = radix_sort(keys, spare, n, n < LONG ? 8 : WIDTH_MAX);
    if (sorted != keys)
        memcpy(keys, sorted, n * sizeof *keys);
}

/* ---- bins ------------------------------------------------------------------------------------ */

/* Distributing a row to bins sorts it except for the few elements that share a bin. Writes the keys
 * bin by bin, within a bin by index, and the end of each bin to end[]. */
static void distribute_keys(struct magnitude_bins b, const float *x, const uint32_t *bin, size_t n,
                            uint64_t *keys, uint32_t *end)
{
    uint32_t next = 0;
    memset(end, 0, b.n * sizeof *end);
    for (size_t i = 0; i < n; i++)
        end[bin[i]]++;
    for (size_t j = 0; j < b.n; j++) {
        uint32_t keys_in_bin = end[j];
        end[j] = next;
        next += keys_in_bin;
    }
    for (size_t i = 0; i < n; i++)
        keys[end[bin[i]]++] = make_key(x[i], i);
}

const uint64_t *magnitude_sort_ascending(const float *x, size_t n, uint64_t *work)
{
    uint64_t *spare = work + n;
    uint32_t end[MAGNITUDE_BINS_MAX], *bin = (uint32_t *)spare, start = 0;
    if (n <= SHORT) {
        for (size_t i = 0; i < n; i++)
            work[i] = make_key(x[i], i);
        insertion_sort(work, n);
        return work;
    }
    struct magnitude_bins b = magnitude_bins_choose(x, n, n);
    magnitude_bins_find(b, x, n, bin);
    distribute_keys(b, x, bin, n, work, end);
    for (size_t j = 0; j < b.n; start = end[j++])
        if (end[j] - start > SHORT)
            sort_bin(work + start, spare, end[j] - start);
    insertion_sort(work, n); /* sorts the short bins; each key moves only within its bin */
    return work;
}
