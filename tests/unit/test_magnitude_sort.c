/* Compares the sort by magnitude with qsort. */
#include "magnitude_sort.h"
#include "unit.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#define N_MAX 5000

static float x[N_MAX];
static uint64_t work[2 * N_MAX];

static int by_magnitude(const void *a, const void *b)
{
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    if (fabsf(x[i]) != fabsf(x[j]))
        return fabsf(x[i]) < fabsf(x[j]) ? -1 : 1;
    return i < j ? -1 : i > j;
}

static bool is_sorted(size_t n)
{
    static uint32_t order[N_MAX];
    const uint64_t *keys = magnitude_sort_ascending(x, n, work);
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    qsort(order, n, sizeof *order, by_magnitude);
    for (size_t r = 0; r < n; r++)
        if (magnitude_sort_index(keys[r]) != order[r])
            return false;
    return true;
}

int main(void)
{
    static const size_t sizes[] = {1, 2, 3, 31, 32, 33, 34, 255, 256, 257, 1000, N_MAX};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = sizes[s];
        srand((unsigned)n);
        for (size_t i = 0; i < n; i++) /* many magnitudes, including subnormal */
            x[i] = (float)ldexp(rand() - RAND_MAX / 2, rand() % 200 - 170);
        CHECK(is_sorted(n));
        for (size_t i = 0; i < n; i++) /* many ties, both signs, zeros of both signs */
            x[i] = (float)(rand() % 7) * (rand() % 2 ? 0.25f : -0.25f);
        CHECK(is_sorted(n));
        for (size_t i = 0; i < n; i++) /* all the same */
            x[i] = -1.5f;
        CHECK(is_sorted(n));
        for (size_t i = 0; i < n; i++) /* one outlier: all others share a bin */
            x[i] = i ? 1.0f + (float)(rand() % 1000) * 0x1p-23f : 1e-38f;
        CHECK(is_sorted(n));
        for (size_t i = 0; i < n; i++) /* descending, all with the same high byte */
            x[i] = 1.0f + (float)(n - i) * 0x1p-20f;
        CHECK(is_sorted(n));
    }
    return unit_end();
}
