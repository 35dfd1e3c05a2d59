#include "magnitude_band.h"
#include "unit.h"

/* The reference implementation: a sort. */

struct ranked {
    uint32_t bits;
    size_t index;
};

static int by_size_lower(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->bits != y->bits)
        return x->bits > y->bits ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int by_size_higher(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return x->bits != y->bits ? by_size_lower(a, b) : by_size_lower(b, a);
}

/* ranks[i]: how many elements come before x[i] */
static void reference(const float *x, size_t n, enum tie_rule ties, size_t *ranks)
{
    struct ranked *r = malloc((n + 1) * sizeof *r);
    for (size_t i = 0; i < n; i++) {
        memcpy(&r[i].bits, &x[i], 4);
        r[i].bits &= 0x7FFFFFFF;
        r[i].index = i;
    }
    qsort(r, n, sizeof *r, ties == TIE_LOWER_INDEX_WINS ? by_size_lower : by_size_higher);
    for (size_t i = 0; i < n; i++)
        ranks[r[i].index] = i;
    free(r);
}

static uint64_t seed = 88172645463325252ull;

static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

/* ---- rounds ----------------------------------------------------------------------------- */

struct rounds {
    size_t samples, full;
};

/* Runs the rounds of a selection over blocks of `block` elements (0: of random sizes, some empty):
 * observes the last block first, merges in order. With `whole`, a sample round gets whole blocks.
 */
static struct rounds run_rounds(struct magnitude_select *s, const float *x, size_t n, size_t block,
                                bool whole)
{
    struct rounds rounds = {0};
    static size_t starts[100000];
    static void *works[100000];
    size_t blocks = 0;
    for (size_t i = 0; i < n || blocks == 0; blocks++) {
        starts[blocks] = i;
        size_t m = block ? block : draw() % 5000;
        i += m < n - i ? m : n - i;
    }
    starts[blocks] = n;
    for (bool known = magnitude_select_is_done(s); !known && rounds.full < 20;
         known = magnitude_select_decide_after_round(s)) {
        size_t wanted = magnitude_select_sample_elements(s);
        *(wanted ? &rounds.samples : &rounds.full) += 1;
        for (size_t b = blocks; b-- > 0;) {
            size_t m = starts[b + 1] - starts[b];
            m = wanted && !whole && wanted < m ? wanted : m;
            works[b] = malloc(magnitude_select_work_size(s, m));
            memset(works[b], 0xA5, magnitude_select_work_size(s, m));
            magnitude_select_observe_block(s, x + starts[b], starts[b], m, works[b]);
        }
        for (size_t b = 0; b < blocks; b++) {
            magnitude_select_accumulate_block(s, works[b]);
            free(works[b]);
        }
    }
    CHECK(magnitude_select_is_done(s));
    return rounds;
}

static struct rounds check_against(const size_t *ranks, const float *x, size_t n, size_t above,
                                   enum tie_rule ties, size_t list_max, size_t block, bool whole)
{
    float *kept = malloc((n + 1) * sizeof *kept), *dropped = malloc((n + 1) * sizeof *kept);
    struct magnitude_select *s = magnitude_select_new(n, above, ties, list_max);
    struct rounds rounds = run_rounds(s, x, n, block, whole);
    struct magnitude_cut cut = magnitude_select_result(s);
    memcpy(kept, x, n * sizeof *x);
    memcpy(dropped, x, n * sizeof *x);
    for (size_t i = 0, m; i < n; i += m) {
        m = 1 + draw() % 3000;
        m = m < n - i ? m : n - i;
        magnitude_cut_keep_one_side(&cut, true, kept + i, i, m);
        magnitude_cut_keep_one_side(&cut, false, dropped + i, i, m);
    }
    size_t wrong = 0;
    const float zero = 0;
    for (size_t i = 0; i < n; i++) {
        bool keeps = ranks[i] < above;
        wrong += magnitude_cut_keeps(&cut, x[i], i) != keeps;
        wrong += memcmp(&kept[i], keeps ? &x[i] : &zero, 4) != 0;
        wrong += memcmp(&dropped[i], keeps ? &zero : &x[i], 4) != 0;
    }
    CHECK(wrong == 0);
    magnitude_select_free(s);
    free(kept);
    free(dropped);
    return rounds;
}

static struct rounds check(const float *x, size_t n, size_t above, enum tie_rule ties,
                           size_t list_max, size_t block)
{
    size_t *ranks = malloc(n * sizeof *ranks);
    reference(x, n, ties, ranks);
    struct rounds rounds = check_against(ranks, x, n, above, ties, list_max, block, draw() % 2);
    free(ranks);
    return rounds;
}

/* ---- data ------------------------------------------------------------------------------- */

static double uniform(void)
{
    return (double)(draw() >> 11) * 0x1p-53;
}

enum data {
    NORMAL,
    ALL_EQUAL,
    ALL_ZERO,
    FEW,
    MOSTLY_EQUAL,
    MOSTLY_ZERO,
    ZERO_BLOCKS,
    SORTED,
    WIDE,
    NANS,
    DATA
};

static void fill(enum data data, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float u = (float)((uniform() + uniform() + uniform() - 1.5) * 1e-3);
        switch (data) {
        case ALL_EQUAL:
            u = draw() % 2 ? 0.25f : -0.25f;
            break;
        case ALL_ZERO:
            u = draw() % 2 ? 0.0f : -0.0f;
            break;
        case FEW:
            u = (float)((int)(draw() % 7) - 3) * 0.125f;
            break;
        case MOSTLY_EQUAL:
            u = draw() % 10 ? 0.25f : 0.5f + u;
            break;
        case MOSTLY_ZERO:
            u = draw() % 20 ? 0 : u;
            break;
        case ZERO_BLOCKS:
            u = i / 1000 % 2 ? 0 : u;
            break;
        case SORTED: /* every sample is misleading: the largest are at the end of a block */
            u = (float)(i % 4096) * (i % 2 ? 1 : -1);
            break;
        case WIDE: {
            uint32_t bits = (uint32_t)draw() % 0x7F800000;
            memcpy(&u, &bits, 4);
            break;
        }
        case NANS:
            u = draw() % 50 ? u : draw() % 2 ? NAN : -INFINITY;
            break;
        default:
            break;
        }
        x[i] = u;
    }
}

static void test_all(float *x, size_t n, size_t list_max)
{
    size_t counts[] = {0, 1, n / 50, n / 5, n / 2, n - n / 20, n - 1, n};
    static const size_t blocks[] = {0, 4096, 65536};
    size_t *ranks = malloc(n * sizeof *ranks);
    for (enum data data = NORMAL; data < DATA; data++) {
        fill(data, x, n);
        for (int ties = 0; ties < 2; ties++) {
            reference(x, n, (enum tie_rule)ties, ranks);
            for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
                if (counts[c] <= n)
                    check_against(ranks, x, n, counts[c], (enum tie_rule)ties, list_max,
                                  blocks[draw() % 3], draw() % 2);
        }
    }
    free(ranks);
}

/* Every count, for a few elements with ties. */
static void test_small(void)
{
    float x[] = {0, -2, 1, 2, 0, 1, -1, 2, 0, 3};
    for (size_t above = 0; above <= 10; above++)
        for (size_t list_max = 0; list_max < 11; list_max++)
            for (size_t block = 1; block < 11; block++) {
                check(x, 10, above, TIE_LOWER_INDEX_WINS, list_max, block);
                check(x, 10, above, TIE_HIGHER_INDEX_WINS, list_max, block);
            }
    struct magnitude_select *s = magnitude_select_new(10, 2, TIE_LOWER_INDEX_WINS, 0);
    run_rounds(s, x, 10, 4, false);
    CHECK(magnitude_select_result(s).index == 1 && !magnitude_select_result(s).all);
    magnitude_select_free(s);
    s = magnitude_select_new(10, 2, TIE_HIGHER_INDEX_WINS, 0);
    run_rounds(s, x, 10, 4, false);
    CHECK(magnitude_select_result(s).index == 7);
    magnitude_select_free(s);
}

/* The number of rounds: none, one, a sample and one, at most one more for frozen tensors. */
static void test_rounds(float *x, size_t n)
{
    fill(NORMAL, x, n);
    struct rounds r = check(x, n, n / 5, TIE_LOWER_INDEX_WINS, 0, 65536);
    CHECK(r.samples == 1 && r.full == 1);
    r = check(x, 65536, 3000, TIE_LOWER_INDEX_WINS, 0, 65536);
    CHECK(r.samples == 0 && r.full == 1);
    r = check(x, n, n, TIE_LOWER_INDEX_WINS, 0, 65536);
    CHECK(r.samples == 0 && r.full == 0);
    fill(ALL_ZERO, x, n);
    r = check(x, n, n / 5, TIE_LOWER_INDEX_WINS, 0, 65536);
    CHECK(r.samples == 1 && r.full == 1);
    fill(MOSTLY_ZERO, x, n);
    r = check(x, n, n / 5, TIE_LOWER_INDEX_WINS, 0, 65536);
    CHECK(r.samples == 1 && r.full == 2);
    fill(FEW, x, n); /* two in seven equal the cut: they are listed */
    r = check(x, n, n / 5, TIE_LOWER_INDEX_WINS, 0, 65536);
    CHECK(r.samples == 1 && r.full == 1);
    for (size_t i = 0; i < n; i++) /* the start of each block has its smallest elements */
        x[i] = (float)(i % 65536) + 1;
    size_t *ranks = malloc(n * sizeof *ranks);
    reference(x, n, TIE_LOWER_INDEX_WINS, ranks);
    r = check_against(ranks, x, n, n / 5, TIE_LOWER_INDEX_WINS, 0, 65536, false);
    CHECK(r.samples == 1 && r.full > 1 && r.full <= 5);
    free(ranks);
}

/* A selection over three tensors with separate blocks; the cut is applied to each tensor. */
static void test_several_tensors(float *x)
{
    static const size_t sizes[] = {70000, 3, 50000};
    float *tensors[3];
    size_t n = 0;
    fill(FEW, x, 120003);
    struct magnitude_select *s = magnitude_select_new(120003, 41000, TIE_LOWER_INDEX_WINS, 1000);
    for (size_t t = 0; t < 3; n += sizes[t++]) {
        tensors[t] = malloc(sizes[t] * sizeof *x);
        memcpy(tensors[t], x + n, sizes[t] * sizeof *x);
    }
    do {
        uint64_t offset = 0;
        for (size_t t = 0; t < 3; offset += sizes[t++])
            for (size_t i = 0; i < sizes[t]; i += 4096) {
                size_t m = sizes[t] - i < 4096 ? sizes[t] - i : 4096;
                void *work = malloc(magnitude_select_work_size(s, m));
                magnitude_select_observe_block(s, tensors[t] + i, offset + i, m, work);
                magnitude_select_accumulate_block(s, work);
                free(work);
            }
    } while (!magnitude_select_decide_after_round(s));
    struct magnitude_cut cut = magnitude_select_result(s);
    size_t *ranks = malloc(n * sizeof *ranks);
    reference(x, n, TIE_LOWER_INDEX_WINS, ranks);
    n = 0;
    for (size_t t = 0; t < 3; free(tensors[t]), n += sizes[t++]) {
        magnitude_cut_keep_one_side(&cut, true, tensors[t], n, sizes[t]);
        for (size_t i = 0; i < sizes[t]; i++)
            CHECK(tensors[t][i] == (ranks[n + i] < 41000 ? x[n + i] : 0));
    }
    free(ranks);
    magnitude_select_free(s);
}

/* The count is an estimate for the sample and exact after the next round; the cut is applied to
 * other numbers. */
static void test_set_count(float *x, size_t n)
{
    static float y[300000];
    size_t *ranks = malloc(n * sizeof *ranks), above = n / 3;
    fill(NORMAL, x, n);
    reference(x, n, TIE_LOWER_INDEX_WINS, ranks);
    for (size_t guess = above - n / 100; guess <= above + n / 100; guess += n / 100) {
        struct magnitude_select *s = magnitude_select_new(n, 1, TIE_LOWER_INDEX_WINS, 0);
        for (int round = 0; !magnitude_select_is_done(s); round++) {
            for (size_t i = 0; i < n; i += 65536) {
                size_t m = n - i < 65536 ? n - i : 65536,
                       wanted = magnitude_select_sample_elements(s);
                m = wanted && wanted < m ? wanted : m;
                void *work = malloc(magnitude_select_work_size(s, m));
                magnitude_select_observe_block(s, x + i, i, m, work);
                magnitude_select_accumulate_block(s, work);
                free(work);
            }
            if (round < 2)
                magnitude_select_set_count_above(s, round == 0 ? guess : above);
            magnitude_select_decide_after_round(s);
        }
        struct magnitude_cut cut = magnitude_select_result(s);
        for (size_t i = 0; i < n; i++)
            y[i] = (float)i;
        magnitude_cut_keep_by_other_vector(&cut, true, x, y, 0, n);
        for (size_t i = 0; i < n; i++)
            CHECK(y[i] == (ranks[i] < above ? (float)i : 0));
        magnitude_select_free(s);
    }
    struct magnitude_select *s = magnitude_select_new(n, 1, TIE_LOWER_INDEX_WINS, 0);
    magnitude_select_set_count_above(s, 0);
    CHECK(magnitude_select_is_done(s) && magnitude_select_result(s).none);
    magnitude_select_free(s);
    free(ranks);
}

/* Bands of several vectors share their rounds, and each block its work area. Most elements are
 * equal to the cuts, which are located in the same round, in different blocks. */
static void test_bands_of_vectors(size_t n)
{
    enum { K = 3, BLOCK = 65536 };
    static const size_t kept[K] = {40000, 41000, 60000};
    struct arena arena = {0};
    struct magnitude_bands bands = magnitude_bands_new(&arena, K);
    size_t *ranks = malloc(n * sizeof *ranks), rounds = 0;
    float *x[K], *y[K];
    for (size_t k = 0; k < K; k++) {
        x[k] = malloc(n * sizeof *x[k]);
        y[k] = malloc(n * sizeof *y[k]);
        fill(MOSTLY_EQUAL, x[k], n);
        memcpy(y[k], x[k], n * sizeof *x[k]);
        bands.bands[k] = magnitude_band_new(n, kept[k], 0, TIE_LOWER_INDEX_WINS);
    }
    do {
        rounds++;
        for (size_t first = 0; first < n; first += BLOCK) {
            size_t m = n - first < BLOCK ? n - first : BLOCK;
            float *block[K];
            void *work = malloc(magnitude_bands_work_size(&bands, m));
            for (size_t k = 0; k < K; k++)
                block[k] = x[k] + first;
            magnitude_bands_observe_block(&bands, block, first, m, work);
            magnitude_bands_accumulate_block(&bands, m, work);
            free(work);
        }
    } while (!magnitude_bands_decide_after_round(&bands));
    CHECK(rounds == 3); /* a sample, a bracket, and one that locates the cuts */
    magnitude_bands_zero_outside(&bands, y, 0, n);
    for (size_t k = 0; k < K; k++) {
        size_t wrong = 0;
        reference(x[k], n, TIE_LOWER_INDEX_WINS, ranks);
        for (size_t i = 0; i < n; i++)
            wrong += y[k][i] != (ranks[i] < kept[k] ? x[k][i] : 0);
        CHECK(wrong == 0);
        free(x[k]);
        free(y[k]);
    }
    magnitude_bands_free(&bands);
    arena_free(&arena);
    free(ranks);
}

/* More elements were announced than observed, or fewer: the selection ends. */
static void test_wrong_count(float *x)
{
    fill(NORMAL, x, 1000);
    for (size_t list_max = 0; list_max < 2000; list_max += 500) {
        struct magnitude_select *s =
            magnitude_select_new(3000, 2000, TIE_LOWER_INDEX_WINS, list_max);
        run_rounds(s, x, 1000, 100, false);
        CHECK(magnitude_select_result(s).all);
        magnitude_select_free(s);
        s = magnitude_select_new(500, 400, TIE_LOWER_INDEX_WINS, list_max);
        run_rounds(s, x, 1000, 100, false);
        magnitude_select_free(s);
    }
}

int main(void)
{
    enum { N = 300000 };
    static float x[N];
    static const size_t sizes[] = {1, 2, 7, 100, 4097, 20011};
    test_small();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        test_all(x, sizes[i], 0);
        test_all(x, sizes[i], 1);
        test_all(x, sizes[i], sizes[i] / 10 + 1);
    }
    fill(NORMAL, x, N);
    for (enum data data = NORMAL; data < DATA; data++) {
        fill(data, x, N);
        for (int ties = 0; ties < 2; ties++)
            check(x, N / 2, N / 10, (enum tie_rule)ties, 0, 65536);
    }
    test_rounds(x, N);
    test_several_tensors(x);
    test_bands_of_vectors(N);
    test_set_count(x, N);
    test_wrong_count(x);
    return unit_end();
}
