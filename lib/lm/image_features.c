#include "image_features.h"

#include "mem.h"
#include "spool.h"
#include "vision_tower.h"

#include <stdlib.h>

#define GROUP 8192 /* patches that pass the tower together */

struct image_features {
    const struct arch *arch;
    const struct weight_source *weights;
    const struct image *images;
    size_t n;
    uint64_t *offset; /* [image + 1]: in the spool; an image that is not wanted has no bytes */
    struct spool *spool;
};

/* Images that pass the tower together. */
struct image_group {
    size_t n, patches;
    const struct image **images;
    size_t *indices;
};

static size_t count_image_patches(const struct image *image)
{
    return image->slices * image->height * image->width;
}

/* ---- computing ------------------------------------------------------------------------------- */

static int compute_group_features(const struct image_features *f, struct vision_tower *t,
                                  const struct image_group *g, struct error *e)
{
    size_t E = f->arch->vision.hidden;
    float *all = mem_alloc_aligned(g->patches * E * sizeof *all), *at = all;
    int failed = vision_tower_forward(t, g->images, g->n, all, e);
    for (size_t i = 0; i < g->n && !failed; i++) {
        size_t n = count_image_patches(g->images[i]) * E;
        failed = spool_write_at(f->spool, f->offset[g->indices[i]], at, n * sizeof *at, e);
        at += n;
    }
    free(all);
    return failed;
}

/* Collects wanted images up to GROUP patches, and computes each group. */
static int compute_features_in_groups(const struct image_features *f, struct vision_tower *t,
                                      struct error *e)
{
    struct image_group g = {.images = mem_alloc(f->n, sizeof *g.images),
                            .indices = mem_alloc(f->n, sizeof *g.indices)};
    int failed = 0;
    for (size_t i = 0; i <= f->n && !failed; i++) {
        bool wanted = i < f->n && f->offset[i + 1] > f->offset[i];
        size_t patches = wanted ? count_image_patches(&f->images[i]) : 0;
        if (g.n && (i == f->n || g.patches + patches > GROUP)) {
            failed = compute_group_features(f, t, &g, e);
            g.n = g.patches = 0;
        }
        if (wanted) {
            g.images[g.n] = &f->images[i];
            g.indices[g.n++] = i;
            g.patches += patches;
        }
    }
    free(g.images);
    free(g.indices);
    return failed;
}

/* Sets the offsets; returns the patches of the largest slice of a wanted image. */
static size_t assign_feature_offsets(struct image_features *f, const bool *wanted)
{
    size_t longest = 0, feature = arch_values_per_feature(&f->arch->vision) * sizeof(float);
    f->offset = mem_alloc(f->n + 1, sizeof *f->offset);
    for (size_t i = 0; i < f->n; i++) {
        const struct image *image = &f->images[i];
        size_t slice = image->height * image->width;
        f->offset[i + 1] = f->offset[i];
        if (wanted && !wanted[i])
            continue;
        f->offset[i + 1] += (uint64_t)image->tokens * feature;
        longest = slice > longest ? slice : longest;
    }
    return longest;
}

struct image_features *image_features_compute(const struct arch *a, const struct weight_source *w,
                                              const struct image *images, size_t n,
                                              const bool *wanted, uint64_t memory,
                                              const char *spool, struct error *e)
{
    struct image_features *f = mem_alloc(1, sizeof *f);
    *f = (struct image_features){.arch = a, .weights = w, .images = images, .n = n};
    size_t longest = assign_feature_offsets(f, wanted);
    f->spool = spool_new(memory, spool);
    int failed = spool_reserve(f->spool, f->offset[n], e);
    if (f->offset[n] && !failed) {
        struct vision_tower *t = vision_tower_new(a, w, longest);
        failed = compute_features_in_groups(f, t, e);
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

/* ---- comparing towers ------------------------------------------------------------------------ */

/* With the same weights, two towers with weights of the same shapes compute the same. */
static bool is_same_tower_config(const struct vision_arch *a, const struct vision_arch *b)
{
    return a->kind == b->kind && a->layers_used == b->layers_used && a->layers == b->layers &&
           a->heads == b->heads && a->patch_size == b->patch_size &&
           a->temporal_patch_size == b->temporal_patch_size && a->merge_size == b->merge_size &&
           a->position_grid == b->position_grid && a->eps == b->eps && a->qk_eps == b->qk_eps &&
           a->qk_norm == b->qk_norm && a->rms_norm == b->rms_norm &&
           a->final_norm == b->final_norm && a->shuffle_transposed == b->shuffle_transposed &&
           a->activation == b->activation;
}

static bool float_arrays_are_equal(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

/* 1, 0, or -1 on error. */
static int layer_weights_are_equal(const struct image_features *f, const struct weight_source *w,
                                   struct weight_range range, size_t layer, struct error *e)
{
    struct layer_weights own, other;
    if (f->weights->load_layer(f->weights->context, range, layer, &own, e) ||
        w->load_layer(w->context, range, layer, &other, e))
        return -1;
    for (enum weight_kind kind = range.first; kind < range.end; kind++)
        if (!float_arrays_are_equal(own.at[kind], other.at[kind],
                                    weight_kind_elements(f->arch, kind)))
            return 0;
    return 1;
}

int image_features_are_valid_for_model(const struct image_features *f, const struct arch *a,
                                       const struct weight_source *w, struct error *e)
{
    if (!f->offset[f->n])
        return 1;
    if (!is_same_tower_config(&f->arch->vision, &a->vision))
        return 0;
    int equal = layer_weights_are_equal(f, w, WEIGHT_RANGE_VISION_OUTSIDE_LAYERS, 0, e);
    for (size_t l = 0; l < a->vision.layers_used && equal == 1; l++)
        equal = layer_weights_are_equal(f, w, WEIGHT_RANGE_VISION_LAYER, l, e);
    return equal;
}

/* ---- reading --------------------------------------------------------------------------------- */

size_t image_features_token_count(const struct image_features *f, size_t image)
{
    return f->images[image].tokens;
}

int image_features_read(const struct image_features *f, size_t image, size_t first, size_t n,
                        float *to, struct error *e)
{
    size_t feature = arch_values_per_feature(&f->arch->vision) * sizeof *to;
    return spool_read_at(f->spool, f->offset[image] + first * feature, to, n * feature, e);
}

uint64_t image_features_bytes(const struct image_features *f)
{
    return f->offset[f->n];
}
