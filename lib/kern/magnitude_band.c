#include "magnitude_band.h"

#include "vector_math.h"
#include "magnitude_multi_select.h"

#include <stdlib.h>

/* The band is above the cut LOW and not above the cut HIGH; NULL if a cut excludes nothing. */
enum { LOW, HIGH, CUTS };

struct magnitude_band {
    struct magnitude_multi_select cuts;
    bool decided;
    double sum, l1; /* sum |x| of this round; of the last complete round */
};

/* A work area holds the block's sum of |x|, then the work areas of the cuts. */
#define SUM_SIZE 64

/* ---- one band -------------------------------------------------------------------------------- */

struct magnitude_band *magnitude_band_new(uint64_t n, uint64_t kept, uint64_t top,
                                          enum tie_rule tie_rule)
{
    struct magnitude_band *b = mem_alloc(1, sizeof *b);
    if (kept + top < n)
        b->cuts.selections[LOW] = magnitude_select_new(n, kept + top, tie_rule, 0);
    if (top > 0)
        b->cuts.selections[HIGH] = magnitude_select_new(n, top, tie_rule, 0);
    return b;
}

void magnitude_band_free(struct magnitude_band *b)
{
    if (b)
        magnitude_multi_select_free(&b->cuts);
    free(b);
}

bool magnitude_band_keeps_all(const struct magnitude_band *b)
{
    return !b->cuts.selections[LOW] && !b->cuts.selections[HIGH];
}

double magnitude_band_l1_norm(const struct magnitude_band *b)
{
    return b->l1;
}

/* 0, all elements, if only the norm is still unknown. */
static size_t band_sample_elements(const struct magnitude_band *b)
{
    return magnitude_multi_select_is_done(&b->cuts)
               ? 0
               : magnitude_multi_select_sample_elements(&b->cuts);
}

static size_t band_work_size(const struct magnitude_band *b, size_t n)
{
    return SUM_SIZE + magnitude_multi_select_work_size(&b->cuts, n);
}

static void band_observe_block(const struct magnitude_band *b, const float *x, uint64_t first,
                               size_t n, char *work)
{
    *(double *)work = band_sample_elements(b) == 0 ? vector_math_sum_abs(x, n) : 0;
    magnitude_multi_select_observe_block(&b->cuts, x, first, n, work + SUM_SIZE);
}

static void band_accumulate_block(struct magnitude_band *b, size_t n, const char *work)
{
    b->sum += *(const double *)work;
    magnitude_multi_select_accumulate_block(&b->cuts, n, work + SUM_SIZE);
}

static bool band_decide_after_round(struct magnitude_band *b)
{
    if (band_sample_elements(b) == 0)
        b->l1 = b->sum;
    b->sum = 0;
    b->decided = magnitude_multi_select_decide_after_round(&b->cuts);
    return b->decided;
}

static void band_zero_outside(const struct magnitude_band *b, float *x, uint64_t first, size_t n)
{
    for (int i = 0; i < CUTS; i++) {
        if (!b->cuts.selections[i])
            continue;
        struct magnitude_cut cut = magnitude_select_result(b->cuts.selections[i]);
        magnitude_cut_keep_one_side(&cut, i == LOW, x, first, n);
    }
}

/* ---- K bands --------------------------------------------------------------------------------- */

struct magnitude_bands magnitude_bands_new(struct arena *a, size_t n)
{
    struct magnitude_bands b = {.n = n};
    b.bands = arena_alloc(a, n, sizeof(struct magnitude_band *));
    b.offset = arena_alloc(a, n, sizeof *b.offset);
    return b;
}

void magnitude_bands_free(struct magnitude_bands *b)
{
    for (size_t k = 0; k < b->n; k++)
        magnitude_band_free(b->bands[k]);
}

/* True if vector k needs the next round. */
static bool band_needs_round(const struct magnitude_bands *b, size_t k)
{
    return b->bands[k] && !b->bands[k]->decided;
}

size_t magnitude_bands_sample_elements(const struct magnitude_bands *b)
{
    size_t most = 0;
    for (size_t k = 0; k < b->n; k++) {
        if (!band_needs_round(b, k))
            continue;
        size_t wanted = band_sample_elements(b->bands[k]);
        if (wanted == 0)
            return 0;
        most = wanted > most ? wanted : most;
    }
    return most ? most : 1; /* the round is for other tensors: read as little as possible */
}

size_t magnitude_bands_work_size(const struct magnitude_bands *b, size_t n)
{
    size_t size = 0;
    for (size_t k = 0; k < b->n; k++)
        size += band_needs_round(b, k) ? band_work_size(b->bands[k], n) : 0;
    return size;
}

void magnitude_bands_observe_block(const struct magnitude_bands *b, float *const *x, uint64_t first,
                                   size_t n, void *work)
{
    char *own_work = work;
    for (size_t k = 0; k < b->n; k++) {
        if (!band_needs_round(b, k))
            continue;
        band_observe_block(b->bands[k], x[k], b->offset[k] + first, n, own_work);
        own_work += band_work_size(b->bands[k], n);
    }
}

void magnitude_bands_accumulate_block(struct magnitude_bands *b, size_t n, const void *work)
{
    const char *own_work = work;
    for (size_t k = 0; k < b->n; k++) {
        if (!band_needs_round(b, k))
            continue;
        band_accumulate_block(b->bands[k], n, own_work);
        own_work += band_work_size(b->bands[k], n);
    }
}

bool magnitude_bands_decide_after_round(struct magnitude_bands *b)
{
    bool done = true;
    for (size_t k = 0; k < b->n; k++)
        done &= !band_needs_round(b, k) || band_decide_after_round(b->bands[k]);
    return done;
}

void magnitude_bands_zero_outside(const struct magnitude_bands *b, float *const *x, uint64_t first,
                                  size_t n)
{
    for (size_t k = 0; k < b->n; k++)
        band_zero_outside(b->bands[k], x[k], b->offset[k] + first, n);
}
