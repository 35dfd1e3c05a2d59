#include "rank.h"

#include "simd.h"

#include <string.h>

/* A key is the bits of |x|, which as an unsigned number are ordered as |x| is, above the index. */

#define SHORT      32   /* rows up to this are sorted by insertion */
#define LONG       1024 /* rows from this on by digits of 11 bits, others of 8 */
#define WIDTH_MAX  11
#define DIGITS_MAX 4

/* Digit d of a magnitude of 31 bits. */
TV_INLINE size_t digit(uint64_t key, size_t d, size_t width)
{
    return key >> (32 + width * d) & (((size_t)1 << width) - 1);
}

static void make_keys(const float *x, size_t n, uint64_t *keys)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        keys[i] = (uint64_t)(bits & 0x7FFFFFFF) << 32 | i;
    }
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

/* Digit by digit from the lowest; the keys start in the order of the index and stay so where the
 * digits seen so far are equal. Returns where they lie in the end. */
TV_INLINE uint64_t *radix_sort(uint64_t *from, uint64_t *to, size_t n, size_t width)
{
    uint32_t count[DIGITS_MAX][1 << WIDTH_MAX];
    size_t digits = 31 / width + (31 % width != 0);
    for (size_t d = 0; d < digits; d++)
        memset(count[d], 0, sizeof **count << width);
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < digits; d++)
            count[d][digit(from[i], d, width)]++;
    for (size_t d = 0; d < digits; d++) {
        uint32_t *place = count[d], next = 0;
        if (place[digit(from[0], d, width)] == n) /* all the same */
            continue;
        for (size_t v = 0; v < (size_t)1 << width; v++) {
            uint32_t own = place[v];
            place[v] = next;
            next += own;
        }
        for (size_t i = 0; i < n; i++)
            to[place[digit(from[i], d, width)]++] = from[i];
        uint64_t *sorted = to;
        to = from;
        from = sorted;
    }
    return from;
}

const uint64_t *rank_ascending(const float *x, size_t n, uint64_t *work)
{
    make_keys(x, n, work);
    if (n >= LONG)
        return radix_sort(work, work + n, n, WIDTH_MAX);
    if (n > SHORT)
        return radix_sort(work, work + n, n, 8);
    insertion_sort(work, n);
    return work;
}
