/* Compares numbers by rank with those that the sort gives. */
#include "magnitude_rank.h"
#include "magnitude_sort.h"
#include "unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N_MAX 20000

static float x[N_MAX], u[N_MAX], by_rank[N_MAX];
static uint64_t work[MAGNITUDE_RANK_WORK * N_MAX];

static float random_uniform(void)
{
    return (float)rand() / (float)RAND_MAX;
}

/* Both functions, for by_rank from `least` to `most`. */
static void check_range(size_t n, float least, float most)
{
    static float expected[N_MAX], values[N_MAX];
    static unsigned char below[N_MAX];
    for (size_t r = 0; r < n; r++)
        by_rank[r] = least + (most - least) * (float)r / (float)n;
    for (size_t i = 0; i < n; i++)
        u[i] = random_uniform();
    const uint64_t *order = magnitude_sort_ascending(x, n, work);
    for (size_t r = 0; r < n; r++)
        expected[magnitude_sort_index(order[r])] = by_rank[r];
    magnitude_rank_values(x, n, by_rank, work, values);
    CHECK(memcmp(values, expected, n * sizeof *values) == 0);
    magnitude_rank_mark_below(x, u, n, by_rank, work, below);
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++)
        wrong += below[i] != (u[i] < expected[i]);
    CHECK(wrong == 0);
}

static void check(size_t n)
{
    check_range(n, 0.4f, 0.6f);
    check_range(n, 0, 1);
    check_range(n, 0.5f, 0.5f);
}

int main(void)
{
    static const size_t sizes[] = {1, 2, 31, 32, 33, 100, 256, 1000, 1031, 4096, N_MAX};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = sizes[s];
        srand((unsigned)n);
        for (size_t i = 0; i < n; i++) /* many magnitudes */
            x[i] = (random_uniform() - 0.5f) * random_uniform();
        check(n);
        for (size_t i = 0; i < n; i++) /* many ties, both signs, zeros of both signs */
            x[i] = (float)(rand() % 7) * (rand() % 2 ? 0.25f : -0.25f);
        check(n);
        for (size_t i = 0; i < n; i++) /* all the same */
            x[i] = -1.5f;
        check(n);
        for (size_t i = 0; i < n; i++) /* half of them zero */
            x[i] = rand() % 2 ? 0 : ldexpf(random_uniform(), -rand() % 140);
        check(n);
        for (size_t i = 0; i < n; i++) /* all but one share a few bins */
            x[i] = i ? 1.0f + (float)(rand() % 1000) * 0x1p-23f : 1e-38f;
        check(n);
    }
    return unit_end();
}
