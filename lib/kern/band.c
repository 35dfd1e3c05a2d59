#include "band.h"

#include "kern.h"
#include "mem.h"

#include <stdlib.h>

/* The band lies above cut[LOW] and not above cut[HIGH]; a cut that cuts nothing off is NULL. */
enum { LOW, HIGH, CUTS };

struct band {
    struct select *cuts[CUTS];
    bool decided;
    double sum, l1; /* of the round at hand; of the last full one */
};

/* A work area: the block's sum of |x|, then the findings of the cuts. */
#define AREA_ALIGN 64

struct band *band_new(uint64_t n, uint64_t kept, uint64_t top, enum select_ties ties)
{
    struct band *b = mem_alloc(1, sizeof *b);
    if (kept + top < n)
        b->cuts[LOW] = select_new(n, kept + top, ties, 0);
    if (top > 0)
        b->cuts[HIGH] = select_new(n, top, ties, 0);
    return b;
}

void band_free(struct band *b)
{
    if (!b)
        return;
    select_free(b->cuts[LOW]);
    select_free(b->cuts[HIGH]);
    free(b);
}

bool band_is_everything(const struct band *b)
{
    return !b->cuts[LOW] && !b->cuts[HIGH];
}

size_t band_head(const struct band *b)
{
    size_t head = 0;
    if (b->decided)
        return 1; /* another vector's round: the less the better */
    for (int i = 0; i < CUTS; i++) {
        size_t wanted = b->cuts[i] ? select_head(b->cuts[i]) : 1;
        if (wanted == 0)
            return 0;
        head = wanted > head ? wanted : head;
    }
    return band_is_everything(b) ? 0 : head;
}

static size_t cut_work_size(const struct select *cut, size_t n)
{
    return cut ? (select_work_size(cut, n) + AREA_ALIGN - 1) / AREA_ALIGN * AREA_ALIGN : 0;
}

size_t band_work_size(const struct band *b, size_t n)
{
    return AREA_ALIGN + cut_work_size(b->cuts[LOW], n) + cut_work_size(b->cuts[HIGH], n);
}

void band_observe(const struct band *b, const float *x, uint64_t first, size_t n, void *work)
{
    char *area = work;
    if (b->decided)
        return;
    *(double *)area = band_head(b) == 0 ? kern_sum_abs(x, n) : 0;
    area += AREA_ALIGN;
    for (int i = 0; i < CUTS; i++) {
        if (!b->cuts[i])
            continue;
        size_t head = select_head(b->cuts[i]);
        select_observe(b->cuts[i], x, first, head && head < n ? head : n, area);
        area += cut_work_size(b->cuts[i], n);
    }
}

void band_merge(struct band *b, size_t n, const void *work)
{
    const char *area = work;
    if (b->decided)
        return;
    b->sum += *(const double *)area;
    area += AREA_ALIGN;
    for (int i = 0; i < CUTS; i++) {
        if (!b->cuts[i])
            continue;
        select_merge(b->cuts[i], area);
        area += cut_work_size(b->cuts[i], n);
    }
}

bool band_decide(struct band *b)
{
    if (b->decided)
        return true;
    if (band_head(b) == 0)
        b->l1 = b->sum;
    b->sum = 0;
    b->decided = true;
    for (int i = 0; i < CUTS; i++)
        if (b->cuts[i] && !select_decide(b->cuts[i]))
            b->decided = false;
    return b->decided;
}

void band_apply(const struct band *b, float *x, uint64_t first, size_t n)
{
    for (int i = 0; i < CUTS; i++) {
        if (!b->cuts[i])
            continue;
        struct select_cut cut = select_result(b->cuts[i]);
        select_apply(&cut, i == LOW, x, first, n);
    }
}

double band_l1(const struct band *b)
{
    return b->l1;
}
