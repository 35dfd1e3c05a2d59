#include "vision_tower.h"

#include "layernorm.h"
#include "mem.h"
#include "patch_embedding.h"
#include "rope.h"
#include "vision_layer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define THETA 10000 /* RoPE's base for rows and columns */

struct vision_tower {
    const struct arch *arch;
    const struct weight_source *weights;
    struct vision_workspace *workspace;
    float *embedding_scratch;
};

/* The images that pass the tower together, and their tokens. */
struct tower_pass {
    const struct image *const *images;
    size_t n;
    struct vision_tokens tokens;
};

static size_t pass_token_count(const struct tower_pass *g)
{
    return g->tokens.starts[g->tokens.slices];
}

static size_t slice_tokens(const struct vision_arch *v, const struct image *image)
{
    return patch_embedding_slice_tokens(v, image->height * image->width);
}

struct vision_tower *vision_tower_new(const struct arch *a, const struct weight_source *w,
                                      size_t longest)
{
    struct vision_tower *t = mem_alloc(1, sizeof *t);
    const struct vision_arch *v = &a->vision;
    t->arch = a;
    t->weights = w;
    t->workspace = vision_workspace_new(v, patch_embedding_slice_tokens(v, longest));
    t->embedding_scratch = mem_alloc_aligned(patch_embedding_scratch_floats(v, longest) *
                                             sizeof *t->embedding_scratch);
    return t;
}

void vision_tower_free(struct vision_tower *t)
{
    if (!t)
        return;
    vision_workspace_free(t->workspace);
    free(t->embedding_scratch);
    free(t);
}

static int load_vision_layer(const struct vision_tower *t, struct weight_range range, size_t layer,
                             struct layer_weights *w, struct error *e)
{
    return t->weights->load_layer(t->weights->context, range, layer, w, e);
}

/* ---- the tokens of a pass -------------------------------------------------------------------- */

static void tower_pass_init(struct tower_pass *g, const struct vision_arch *v,
                            const struct image *const *images, size_t n)
{
    struct vision_tokens *t = &g->tokens;
    size_t s = 0, half = v->hidden / v->heads / 2;
    *g = (struct tower_pass){.images = images, .n = n};
    for (size_t i = 0; i < n; i++)
        t->slices += images[i]->slices;
    t->starts = mem_alloc(t->slices + 1, sizeof *t->starts);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < images[i]->slices; k++, s++)
            t->starts[s + 1] = t->starts[s] + slice_tokens(v, images[i]);
    size_t N = pass_token_count(g), angles = v->kind == VISION_QWEN2VL ? N * half : 1;
    t->x = mem_alloc_aligned(N * v->hidden * sizeof *t->x);
    t->rope_cos = mem_alloc(angles, sizeof *t->rope_cos);
    t->rope_sin = mem_alloc(angles, sizeof *t->rope_sin);
}

static void tower_pass_free(struct tower_pass *g)
{
    free(g->tokens.starts);
    free(g->tokens.x);
    free(g->tokens.rope_cos);
    free(g->tokens.rope_sin);
}

/* ---- embeddings ------------------------------------------------------------------------------ */

/* Qwen2-VL: cos and sin for an image's patches. The first half of the frequencies rotates by the
 * patch's row, the second half by its column. Patches are in blocks of merge_size x merge_size. */
static void compute_rope_2d(const struct vision_arch *v, const struct image *image, float *cos_,
                            float *sin_)
{
    const struct rope_parameters parameters = {.type = ROPE_DEFAULT, .theta = THETA};
    size_t half = v->hidden / v->heads / 2, m = v->merge_size, blocks = image->width / m;
    float *inv = mem_alloc(half / 2, sizeof *inv);
    rope_compute_frequencies(&parameters, half, 0, inv);
    for (size_t i = 0; i < image->slices * image->height * image->width; i++) {
        size_t in_slice = i % (image->height * image->width), block = in_slice / (m * m);
        size_t row = block / blocks * m + in_slice / m % m, column = block % blocks * m + i % m;
        for (size_t j = 0; j < half; j++) {
            float angle = (float)(j < half / 2 ? row : column) * inv[j % (half / 2)];
            cos_[i * half + j] = cosf(angle);
            sin_[i * half + j] = sinf(angle);
        }
    }
    free(inv);
}

static int embed_images(const struct vision_tower *t, const struct tower_pass *g, struct error *e)
{
    const struct vision_arch *v = &t->arch->vision;
    size_t half = v->hidden / v->heads / 2, at = 0;
    struct layer_weights w;
    if (load_vision_layer(t, WEIGHT_RANGE_VISION_OUTSIDE_LAYERS, 0, &w, e))
        return -1;
    for (size_t i = 0; i < g->n; i++) {
        const struct image *image = g->images[i];
        patch_embedding_forward(v, &w, image, g->tokens.x + at * v->hidden, t->embedding_scratch);
        if (v->kind == VISION_QWEN2VL)
            compute_rope_2d(v, image, g->tokens.rope_cos + at * half,
                            g->tokens.rope_sin + at * half);
        at += image->slices * slice_tokens(v, image);
    }
    return 0;
}

/* ---- layers ---------------------------------------------------------------------------------- */

static int run_vision_layer(const struct vision_tower *t, size_t layer, const struct tower_pass *g,
                            struct error *e)
{
    struct layer_weights w;
    if (load_vision_layer(t, WEIGHT_RANGE_VISION_LAYER, layer, &w, e))
        return -1;
    vision_layer_forward(&t->arch->vision, &w, &g->tokens, t->workspace);
    return 0;
}

/* The norm after the last layer, if the model has one and its last hidden state is selected. */
static int run_vision_final_norm(const struct vision_tower *t, const struct tower_pass *g,
                                 struct error *e)
{
    const struct vision_arch *v = &t->arch->vision;
    struct layer_weights w;
    if (!v->final_norm || v->layers_used < v->layers)
        return 0;
    if (load_vision_layer(t, WEIGHT_RANGE_VISION_OUTSIDE_LAYERS, 0, &w, e))
        return -1;
    layernorm_forward(g->tokens.x, w.at[WEIGHT_VISION_FINAL_NORM],
                      w.at[WEIGHT_VISION_FINAL_NORM_BIAS], v->eps, pass_token_count(g), v->hidden,
                      g->tokens.x);
    return 0;
}

/* ---- features -------------------------------------------------------------------------------- */

/* InternVL's pixel shuffle of a tile x (1 + height width, E), without its class token: the patches
 * of each merge_size x merge_size block side by side, blocks by rows, or in v1 by columns. Returns
 * the end of what it wrote. */
static float *pixel_shuffle(const struct vision_arch *v, const struct image *image, const float *x,
                            float *to)
{
    size_t E = v->hidden, m = v->merge_size;
    size_t rows = image->height / m, columns = image->width / m;
    for (size_t block = 0; block < rows * columns; block++) {
        size_t row = v->shuffle_transposed ? block % rows : block / columns;
        size_t column = v->shuffle_transposed ? block / rows : block % columns;
        for (size_t i = 0; i < m * m; i++, to += E) {
            size_t patch = (row * m + i / m) * image->width + column * m + i % m;
            memcpy(to, x + (1 + patch) * E, E * sizeof *to);
        }
    }
    return to;
}

static void write_features(const struct vision_arch *v, const struct tower_pass *g, float *to)
{
    const float *x = g->tokens.x;
    if (v->kind == VISION_QWEN2VL) { /* patches that are merged are side by side already */
        memcpy(to, x, pass_token_count(g) * v->hidden * sizeof *to);
        return;
    }
    for (size_t i = 0; i < g->n; i++)
        for (size_t s = 0; s < g->images[i]->slices; s++) {
            to = pixel_shuffle(v, g->images[i], x, to);
            x += slice_tokens(v, g->images[i]) * v->hidden;
        }
}

int vision_tower_forward(struct vision_tower *t, const struct image *const *images, size_t n,
                         float *features, struct error *e)
{
    const struct vision_arch *v = &t->arch->vision;
    struct tower_pass g;
    tower_pass_init(&g, v, images, n);
    int failed = embed_images(t, &g, e);
    for (size_t l = 0; l < v->layers_used && !failed; l++)
        failed = run_vision_layer(t, l, &g, e);
    failed = failed || run_vision_final_norm(t, &g, e);
    if (!failed)
        write_features(v, &g, features);
    tower_pass_free(&g);
    return failed ? -1 : 0;
}
