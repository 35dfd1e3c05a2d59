#include "magnitude_bins.h"

#define BINS_MIN 256
#define MAX      0x7FFFFFFFu

TV_CLONES static void find_magnitude_range(const float *x, size_t n, uint32_t *least,
                                           uint32_t *most)
{
    uint32_t low = MAX, high = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t m = magnitude_bins_bits(x[i]), other = m ? m : MAX;
        low = other < low ? other : low;
        high = m > high ? m : high;
    }
    *least = low;
    *most = high;
}

struct magnitude_bins magnitude_bins_choose(const float *x, size_t n, size_t wanted)
{
    struct magnitude_bins b = {.n = BINS_MIN};
    uint32_t most;
    while (b.n < MAGNITUDE_BINS_MAX && b.n < wanted)
        b.n *= 2;
    find_magnitude_range(x, n, &b.least, &most);
    while (most > b.least && (most - b.least) >> b.shift >= b.n - 1)
        b.shift++;
    return b;
}

TV_CLONES void magnitude_bins_find(struct magnitude_bins b, const float *restrict x, size_t n,
                                   uint32_t *restrict bin)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t m = magnitude_bins_bits(x[i]);
        bin[i] = m ? ((m - b.least) >> b.shift) + 1 : 0;
    }
}
