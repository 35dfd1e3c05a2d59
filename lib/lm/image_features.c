#include "image_features.h"

#include "mem.h"
#include "spool.h"
#include "vision_tower.h"

#include <stdlib.h>

#define GROUP 8192 /* patches that pass the tower together */

struct image_features {
    const struct arch *arch;
    const struct weight_source *weights;
    const struct image *pictures;
    size_t n;
    uint64_t *offset; /* [picture + 1] */
    struct spool *spool;
};

static size_t patches_of(const struct image *p)
{
    return p->slices * p->height * p->width;
}

static size_t width_of(const struct arch *a)
{
    return a->vision.merge * a->vision.merge * a->vision.hidden;
}

/* Some pictures, from number `first` on. */
struct group {
    size_t n, patches;
    const struct image **pictures;
    size_t *numbers;
};

static int see_group(const struct image_features *f, struct vision_tower *t, const struct group *g,
                     struct error *e)
{
    size_t E = f->arch->vision.hidden;
    float *all = mem_alloc_aligned(g->patches * E * sizeof *all), *at = all;
    int failed = vision_tower_forward(t, g->pictures, g->n, all, e);
    for (size_t i = 0; i < g->n && !failed; i++) {
        size_t n = patches_of(g->pictures[i]) * E;
        failed = spool_write(f->spool, f->offset[g->numbers[i]], at, n * sizeof *at, e);
        at += n;
    }
    free(all);
    return failed;
}

static int see_all(const struct image_features *f, struct vision_tower *t, struct error *e)
{
    struct group g = {.pictures = mem_alloc(f->n, sizeof *g.pictures),
                      .numbers = mem_alloc(f->n, sizeof *g.numbers)};
    int failed = 0;
    for (size_t i = 0; i <= f->n && !failed; i++) {
        bool kept = i < f->n && f->offset[i + 1] > f->offset[i];
        size_t more = kept ? patches_of(&f->pictures[i]) : 0;
        if (g.n && (i == f->n || g.patches + more > GROUP)) {
            failed = see_group(f, t, &g, e);
            g.n = g.patches = 0;
        }
        if (kept) {
            g.pictures[g.n] = &f->pictures[i];
            g.numbers[g.n++] = i;
            g.patches += more;
        }
    }
    free(g.pictures);
    free(g.numbers);
    return failed;
}

struct image_features *image_features_compute(const struct arch *a, const struct weight_source *w,
                                              const struct image *pictures, size_t n,
                                              const bool *wanted, uint64_t memory,
                                              const char *spool, struct error *e)
{
    struct image_features *f = mem_alloc(1, sizeof *f);
    size_t longest = 0;
    *f = (struct image_features){.arch = a, .weights = w, .pictures = pictures, .n = n};
    f->offset = mem_alloc(n + 1, sizeof *f->offset);
    for (size_t i = 0; i < n; i++) {
        bool kept = !wanted || wanted[i];
        size_t slice = pictures[i].height * pictures[i].width;
        longest = kept && slice > longest ? slice : longest;
        f->offset[i + 1] =
            f->offset[i] + (kept ? (uint64_t)pictures[i].tokens : 0) * width_of(a) * sizeof(float);
    }
    f->spool = spool_new(memory, spool);
    int failed = spool_reserve(f->spool, f->offset[n], e);
    if (f->offset[n] && !failed) {
        struct vision_tower *t = vision_tower_new(a, w, longest);
        failed = see_all(f, t, e);
        vision_tower_free(t);
    }
    if (!failed)
        return f;
    image_features_free(f);
    return NULL;
}

void image_features_free(struct image_features *f)
{
    if (!f)
        return;
    spool_free(f->spool);
    free(f->offset);
    free(f);
}

/* ---- the same tower? ------------------------------------------------------------------------- */

/* Do two models of the same sizes compute alike with the weights of their towers? */
static bool same_recipe(const struct vision_arch *a, const struct vision_arch *b)
{
    return a->kind == b->kind && a->layers_used == b->layers_used && a->layers == b->layers &&
           a->heads == b->heads && a->patch == b->patch && a->temporal == b->temporal &&
           a->merge == b->merge && a->position_grid == b->position_grid && a->eps == b->eps &&
           a->qk_eps == b->qk_eps && a->qk_norm == b->qk_norm && a->rms_norm == b->rms_norm &&
           a->final_norm == b->final_norm && a->shuffle_transposed == b->shuffle_transposed &&
           a->activation == b->activation;
}

static bool same_numbers(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

static int same_weights(const struct image_features *f, const struct weight_source *w,
                        struct weight_range parts, size_t layer, struct error *e)
{
    struct layer_weights seen, asked;
    if (f->weights->load_layer(f->weights->context, parts, layer, &seen, e) ||
        w->load_layer(w->context, parts, layer, &asked, e))
        return -1;
    for (enum weight_kind part = parts.first; part < parts.end; part++)
        if (!same_numbers(seen.at[part], asked.at[part], weight_kind_elements(f->arch, part)))
            return 0;
    return 1;
}

int image_features_valid_for(const struct image_features *f, const struct arch *a,
                             const struct weight_source *w, struct error *e)
{
    if (!f->offset[f->n])
        return 1;
    if (!same_recipe(&f->arch->vision, &a->vision))
        return 0;
    int same = same_weights(f, w, WEIGHT_RANGE_VISION_OUTSIDE_LAYERS, 0, e);
    for (size_t l = 0; l < a->vision.layers_used && same == 1; l++)
        same = same_weights(f, w, WEIGHT_RANGE_VISION_LAYER, l, e);
    return same;
}

/* ---- what was seen --------------------------------------------------------------------------- */

size_t image_features_token_count(const struct image_features *f, size_t picture)
{
    return f->pictures[picture].tokens;
}

int image_features_read(const struct image_features *f, size_t picture, size_t first, size_t n,
                        float *to, struct error *e)
{
    size_t row = width_of(f->arch) * sizeof *to;
    return spool_read(f->spool, f->offset[picture] + first * row, to, n * row, e);
}

uint64_t image_features_bytes(const struct image_features *f)
{
    return f->offset[f->n];
}
