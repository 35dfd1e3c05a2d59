#include "band.h"

#include "kern.h"
#include "selects.h"

#include <stdlib.h>

/* The band lies above the cut LOW and not above the cut HIGH; one that cuts nothing off is NULL. */
enum { LOW, HIGH, CUTS };

struct band {
    struct selects cuts;
    bool decided;
    double sum, l1; /* of the round at hand; of the last full one */
};

/* A work area: the block's sum of |x|, then the findings of the cuts. */
#define SUM_SIZE 64

/* ---- one ------------------------------------------------------------------------------------- */

struct band *band_new(uint64_t n, uint64_t kept, uint64_t top, enum select_ties ties)
{
    struct band *b = mem_alloc(1, sizeof *b);
    if (kept + top < n)
        b->cuts.each[LOW] = select_new(n, kept + top, ties, 0);
    if (top > 0)
        b->cuts.each[HIGH] = select_new(n, top, ties, 0);
    return b;
}

void band_free(struct band *b)
{
    if (b)
        selects_free(&b->cuts);
    free(b);
}

bool band_is_everything(const struct band *b)
{
    return !b->cuts.each[LOW] && !b->cuts.each[HIGH];
}

double band_l1(const struct band *b)
{
    return b->l1;
}

/* The head that the band's next round wants: all where only the norm is still to be found. */
static size_t head_of(const struct band *b)
{
    return selects_are_known(&b->cuts) ? 0 : selects_head(&b->cuts);
}

static size_t work_size(const struct band *b, size_t n)
{
    return SUM_SIZE + selects_work_size(&b->cuts, n);
}

static void observe(const struct band *b, const float *x, uint64_t first, size_t n, char *work)
{
    *(double *)work = head_of(b) == 0 ? kern_sum_abs(x, n) : 0;
    selects_observe(&b->cuts, x, first, n, work + SUM_SIZE);
}

static void merge(struct band *b, size_t n, const char *work)
{
    b->sum += *(const double *)work;
    selects_merge(&b->cuts, n, work + SUM_SIZE);
}

static bool decide(struct band *b)
{
    if (head_of(b) == 0)
        b->l1 = b->sum;
    b->sum = 0;
    b->decided = selects_decide(&b->cuts);
    return b->decided;
}

static void apply(const struct band *b, float *x, uint64_t first, size_t n)
{
    for (int i = 0; i < CUTS; i++) {
        if (!b->cuts.each[i])
            continue;
        struct select_cut cut = select_result(b->cuts.each[i]);
        select_apply(&cut, i == LOW, x, first, n);
    }
}

/* ---- side by side ---------------------------------------------------------------------------- */

struct bands bands_in(struct arena *a, size_t n)
{
    struct bands b = {.n = n};
    b.each = arena_alloc(a, n, sizeof(struct band *));
    b.offset = arena_alloc(a, n, sizeof *b.offset);
    return b;
}

void bands_free(struct bands *b)
{
    for (size_t k = 0; k < b->n; k++)
        band_free(b->each[k]);
}

/* Does the next round look at vector k? */
static bool is_open(const struct bands *b, size_t k)
{
    return b->each[k] && !b->each[k]->decided;
}

size_t bands_head(const struct bands *b)
{
    size_t most = 0;
    for (size_t k = 0; k < b->n; k++) {
        if (!is_open(b, k))
            continue;
        size_t head = head_of(b->each[k]);
        if (head == 0)
            return 0;
        most = head > most ? head : most;
    }
    return most ? most : 1; /* another tensor's round: the less the better */
}

size_t bands_work_size(const struct bands *b, size_t n)
{
    size_t size = 0;
    for (size_t k = 0; k < b->n; k++)
        size += is_open(b, k) ? work_size(b->each[k], n) : 0;
    return size;
}

void bands_observe(const struct bands *b, float *const *x, uint64_t first, size_t n, void *work)
{
    char *part = work;
    for (size_t k = 0; k < b->n; k++) {
        if (!is_open(b, k))
            continue;
        observe(b->each[k], x[k], b->offset[k] + first, n, part);
        part += work_size(b->each[k], n);
    }
}

void bands_merge(struct bands *b, size_t n, const void *work)
{
    const char *part = work;
    for (size_t k = 0; k < b->n; k++) {
        if (!is_open(b, k))
            continue;
        merge(b->each[k], n, part);
        part += work_size(b->each[k], n);
    }
}

bool bands_decide(struct bands *b)
{
    bool done = true;
    for (size_t k = 0; k < b->n; k++)
        done &= !is_open(b, k) || decide(b->each[k]);
    return done;
}

void bands_apply(const struct bands *b, float *const *x, uint64_t first, size_t n)
{
    for (size_t k = 0; k < b->n; k++)
        apply(b->each[k], x[k], b->offset[k] + first, n);
}
