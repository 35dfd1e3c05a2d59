#include "magnitude_band.h"

#include "vector_math.h"
#include "multi_select.h"

#include <stdlib.h>

/* The band lies above the cut LOW and not above the cut HIGH; one that cuts nothing off is NULL. */
enum { LOW, HIGH, CUTS };

struct magnitude_band {
    struct multi_select cuts;
    bool decided;
    double sum, l1; /* of the round at hand; of the last full one */
};

/* A work area: the block's sum of |x|, then the findings of the cuts. */
#define SUM_SIZE 64

/* ---- one ------------------------------------------------------------------------------------- */

struct magnitude_band *magnitude_band_new(uint64_t n, uint64_t kept, uint64_t top,
                                          enum tie_rule ties)
{
    struct magnitude_band *b = mem_alloc(1, sizeof *b);
    if (kept + top < n)
        b->cuts.selections[LOW] = magnitude_select_new(n, kept + top, ties, 0);
    if (top > 0)
        b->cuts.selections[HIGH] = magnitude_select_new(n, top, ties, 0);
    return b;
}

void magnitude_band_free(struct magnitude_band *b)
{
    if (b)
        multi_select_free(&b->cuts);
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

/* The head that the band's next round wants: all where only the norm is still to be found. */
static size_t head_of(const struct magnitude_band *b)
{
    return multi_select_is_done(&b->cuts) ? 0 : multi_select_sample_elements(&b->cuts);
}

static size_t work_size(const struct magnitude_band *b, size_t n)
{
    return SUM_SIZE + multi_select_work_size(&b->cuts, n);
}

static void observe(const struct magnitude_band *b, const float *x, uint64_t first, size_t n,
                    char *work)
{
    *(double *)work = head_of(b) == 0 ? vector_math_sum_abs(x, n) : 0;
    multi_select_observe(&b->cuts, x, first, n, work + SUM_SIZE);
}

static void merge(struct magnitude_band *b, size_t n, const char *work)
{
    b->sum += *(const double *)work;
    multi_select_merge(&b->cuts, n, work + SUM_SIZE);
}

static bool decide(struct magnitude_band *b)
{
    if (head_of(b) == 0)
        b->l1 = b->sum;
    b->sum = 0;
    b->decided = multi_select_decide(&b->cuts);
    return b->decided;
}

static void apply(const struct magnitude_band *b, float *x, uint64_t first, size_t n)
{
    for (int i = 0; i < CUTS; i++) {
        if (!b->cuts.selections[i])
            continue;
        struct magnitude_cut cut = magnitude_select_result(b->cuts.selections[i]);
        magnitude_cut_apply(&cut, i == LOW, x, first, n);
    }
}

/* ---- side by side ---------------------------------------------------------------------------- */

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

/* Does the next round look at vector k? */
static bool is_open(const struct magnitude_bands *b, size_t k)
{
    return b->bands[k] && !b->bands[k]->decided;
}

size_t magnitude_bands_sample_elements(const struct magnitude_bands *b)
{
    size_t most = 0;
    for (size_t k = 0; k < b->n; k++) {
        if (!is_open(b, k))
            continue;
        size_t head = head_of(b->bands[k]);
        if (head == 0)
            return 0;
        most = head > most ? head : most;
    }
    return most ? most : 1; /* another tensor's round: the less the better */
}

size_t magnitude_bands_work_size(const struct magnitude_bands *b, size_t n)
{
    size_t size = 0;
    for (size_t k = 0; k < b->n; k++)
        size += is_open(b, k) ? work_size(b->bands[k], n) : 0;
    return size;
}

void magnitude_bands_observe(const struct magnitude_bands *b, float *const *x, uint64_t first,
                             size_t n, void *work)
{
    char *part = work;
    for (size_t k = 0; k < b->n; k++) {
        if (!is_open(b, k))
            continue;
        observe(b->bands[k], x[k], b->offset[k] + first, n, part);
        part += work_size(b->bands[k], n);
    }
}

void magnitude_bands_merge(struct magnitude_bands *b, size_t n, const void *work)
{
    const char *part = work;
    for (size_t k = 0; k < b->n; k++) {
        if (!is_open(b, k))
            continue;
        merge(b->bands[k], n, part);
        part += work_size(b->bands[k], n);
    }
}

bool magnitude_bands_decide(struct magnitude_bands *b)
{
    bool done = true;
    for (size_t k = 0; k < b->n; k++)
        done &= !is_open(b, k) || decide(b->bands[k]);
    return done;
}

void magnitude_bands_apply(const struct magnitude_bands *b, float *const *x, uint64_t first,
                           size_t n)
{
    for (size_t k = 0; k < b->n; k++)
        apply(b->bands[k], x[k], b->offset[k] + first, n);
}
