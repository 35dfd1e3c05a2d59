#include "vision_tower.h"

#include "attention.h"
#include "bicubic.h"
#include "mem.h"
#include "cross_entropy.h"
#include "rope.h"
#include "layernorm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROOM  1024  /* tokens that are in a layer at once, but a slice at least */
#define THETA 10000 /* of the angles of rows and columns */

struct vision_tower {
    const struct arch *arch;
    const struct weight_source *weights;
    size_t room;
    /* Of up to `room` tokens. */
    float *normed, *q, *k, *v, *o; /* (N, E) */
    float *r, *log_sums;           /* (N), (N, heads) */
    float *hidden;                 /* (ROOM, F) */
    float *pixels;                 /* (ROOM, c), or a tile and its patches */
    float *scratch;                /* of attention */
    /* The group at hand. */
    const struct image *const *pictures;
    size_t n;
    size_t slices, *starts; /* [slices + 1]: of their tokens */
    float *x;               /* (N, E) */
    float *cos_, *sin_;     /* (N, E / heads / 2): Qwen2-VL */
};

static const struct vision_arch *vision_of(const struct vision_tower *t)
{
    return &t->arch->vision;
}

/* Tokens of a slice that are no patches. */
static size_t extra(const struct vision_arch *v)
{
    return v->kind == VISION_INTERNVL ? 1 : 0;
}

static size_t patch_numbers(const struct vision_arch *v)
{
    return v->channels * v->temporal * v->patch * v->patch;
}

struct vision_tower *vision_tower_new(const struct arch *a, const struct weight_source *w,
                                      size_t longest)
{
    struct vision_tower *t = mem_alloc(1, sizeof *t);
    const struct vision_arch *v = &a->vision;
    size_t E = v->hidden, slice = longest + extra(v), pixels = patch_numbers(v);
    t->arch = a;
    t->weights = w;
    t->room = slice > ROOM ? slice : ROOM;
    float **areas[] = {&t->normed, &t->q, &t->k, &t->v, &t->o};
    for (size_t i = 0; i < sizeof areas / sizeof *areas; i++)
        *areas[i] = mem_alloc_aligned(t->room * E * sizeof(float));
    t->r = mem_alloc(t->room, sizeof *t->r);
    t->log_sums = mem_alloc(t->room * v->heads, sizeof *t->log_sums);
    t->hidden = mem_alloc_aligned(ROOM * v->intermediate * sizeof *t->hidden);
    t->pixels = mem_alloc_aligned((v->kind == VISION_INTERNVL ? 2 * longest : ROOM) * pixels *
                                  sizeof *t->pixels);
    t->scratch = mem_alloc_aligned(attention_scratch_floats(slice) * sizeof *t->scratch);
    return t;
}

void vision_tower_free(struct vision_tower *t)
{
    if (!t)
        return;
    free(t->normed);
    free(t->q);
    free(t->k);
    free(t->v);
    free(t->o);
    free(t->r);
    free(t->log_sums);
    free(t->hidden);
    free(t->pixels);
    free(t->scratch);
    free(t);
}

/* ---- embeddings ------------------------------------------------------------------------------ */

/* x = W patch + b, rows of c numbers to rows of E. */
static void embed_rows(const struct vision_tower *t, const struct layer_weights *w,
                       const float *rows, size_t n, float *x)
{
    const struct vision_arch *v = vision_of(t);
    linear_forward(rows, w->at[WEIGHT_VISION_PATCH_EMBEDDING],
                   w->at[WEIGHT_VISION_PATCH_EMBEDDING_BIAS], n, patch_numbers(v), v->hidden, x);
}

/* Qwen2-VL: the file has the rows. */
static void embed_patches(const struct vision_tower *t, const struct layer_weights *w,
                          const struct image *p, float *x)
{
    const struct vision_arch *v = vision_of(t);
    size_t c = patch_numbers(v), N = p->slices * p->height * p->width;
    for (size_t first = 0; first < N; first += ROOM) {
        size_t n = N - first < ROOM ? N - first : ROOM;
        model_source_read_f32(p->file, p->tensor, first * c, n * c, DTYPE_NONE, t->pixels);
        embed_rows(t, w, t->pixels, n, x + first * v->hidden);
    }
}

/* A tile (channels, height patch, width patch) as patches (height width, c). */
static void cut(const struct vision_arch *v, const struct image *p, const float *tile, float *to)
{
    size_t line = p->width * v->patch;
    for (size_t i = 0; i < p->height * p->width; i++)
        for (size_t channel = 0; channel < v->channels; channel++)
            for (size_t y = 0; y < v->patch; y++) {
                size_t row = (channel * p->height + i / p->width) * v->patch + y;
                memcpy(to, tile + row * line + i % p->width * v->patch, v->patch * sizeof *to);
                to += v->patch;
            }
}

/* The table of positions (1 + height width, E) for a picture; NULL: the model's own is it. */
static float *resized_positions(const struct vision_arch *v, const struct layer_weights *w,
                                const struct image *p)
{
    size_t E = v->hidden;
    if (p->height == v->position_grid && p->width == v->position_grid)
        return NULL;
    float *table = mem_alloc((1 + p->height * p->width) * E, sizeof *table);
    memcpy(table, w->at[WEIGHT_VISION_POSITION_EMBEDDING], E * sizeof *table);
    bicubic_resize(w->at[WEIGHT_VISION_POSITION_EMBEDDING] + E, v->position_grid, E, p->height,
                   p->width, table + E);
    return table;
}

/* InternVL: a class token, then the patches of the tile, each with its position. */
static void embed_tiles(const struct vision_tower *t, const struct layer_weights *w,
                        const struct image *p, float *x)
{
    const struct vision_arch *v = vision_of(t);
    size_t patches = p->height * p->width, E = v->hidden, pixels = patches * patch_numbers(v);
    float *own = resized_positions(v, w, p);
    for (size_t s = 0; s < p->slices; s++, x += (1 + patches) * E) {
        model_source_read_f32(p->file, p->tensor, s * pixels, pixels, DTYPE_NONE, t->pixels);
        cut(v, p, t->pixels, t->pixels + pixels);
        memcpy(x, w->at[WEIGHT_VISION_CLASS_EMBEDDING], E * sizeof *x);
        embed_rows(t, w, t->pixels + pixels, patches, x + E);
        residual_add(own ? own : w->at[WEIGHT_VISION_POSITION_EMBEDDING], (1 + patches) * E, x);
    }
    free(own);
}

/* Qwen2-VL: the angles of a picture's patches, which lie block by block, merge x merge in each:
 * of the row, then of the column. */
static void turn_tables(const struct vision_tower *t, const struct image *p, float *cos_,
                        float *sin_)
{
    const struct vision_arch *v = vision_of(t);
    const struct rope_parameters recipe = {.type = ROPE_DEFAULT, .theta = THETA};
    size_t half = v->hidden / v->heads / 2, m = v->merge, blocks = p->width / m;
    float *inv = mem_alloc(half / 2, sizeof *inv);
    rope_frequencies(&recipe, half, 0, inv);
    for (size_t i = 0; i < p->slices * p->height * p->width; i++) {
        size_t in_slice = i % (p->height * p->width), block = in_slice / (m * m);
        size_t row = block / blocks * m + in_slice / m % m, column = block % blocks * m + i % m;
        for (size_t j = 0; j < half; j++) {
            float angle = (float)(j < half / 2 ? row : column) * inv[j % (half / 2)];
            cos_[i * half + j] = cosf(angle);
            sin_[i * half + j] = sinf(angle);
        }
    }
    free(inv);
}

static int embed(struct vision_tower *t, struct error *e)
{
    const struct vision_arch *v = vision_of(t);
    size_t half = v->hidden / v->heads / 2, at = 0;
    struct layer_weights w;
    if (t->weights->load_layer(t->weights->context, WEIGHT_RANGE_VISION_OUTSIDE_LAYERS, 0, &w, e))
        return -1;
    for (size_t i = 0; i < t->n; i++) {
        const struct image *p = t->pictures[i];
        float *x = t->x + at * v->hidden;
        if (v->kind == VISION_QWEN2VL) {
            embed_patches(t, &w, p, x);
            turn_tables(t, p, t->cos_ + at * half, t->sin_ + at * half);
        } else {
            embed_tiles(t, &w, p, x);
        }
        at += p->slices * (p->height * p->width + extra(v));
    }
    return 0;
}

/* ---- layers ---------------------------------------------------------------------------------- */

/* x += g y, or x += y without a scale. */
static void add(const float *y, const float *g, size_t N, size_t E, float *x)
{
    if (g)
        scaled_add(y, g, N, E, x);
    else
        residual_add(y, N * E, x);
}

/* The norm before either half of a layer, to t->normed. */
static void normalise(const struct vision_tower *t, const float *x, const float *g, const float *b,
                      size_t N)
{
    const struct vision_arch *v = vision_of(t);
    if (v->rms_norm)
        rmsnorm_forward(x, g, v->eps, N, v->hidden, t->normed, t->r);
    else
        layernorm_forward(x, g, b, v->eps, N, v->hidden, t->normed);
}

/* Slices first .. first + n - 1, of N tokens; x is the first one's. */
static void attend(const struct vision_tower *t, const struct layer_weights *w, size_t first,
                   size_t n, float *x)
{
    const struct vision_arch *v = vision_of(t);
    size_t E = v->hidden, D = E / v->heads, N = t->starts[first + n] - t->starts[first];
    size_t angle = t->starts[first] * D / 2;
    normalise(t, x, w->at[WEIGHT_VISION_NORM1], w->at[WEIGHT_VISION_NORM1_BIAS], N);
    linear_forward(t->normed, w->at[WEIGHT_VISION_Q], w->at[WEIGHT_VISION_Q_BIAS], N, E, E, t->q);
    linear_forward(t->normed, w->at[WEIGHT_VISION_K], w->at[WEIGHT_VISION_K_BIAS], N, E, E, t->k);
    linear_forward(t->normed, w->at[WEIGHT_VISION_V], w->at[WEIGHT_VISION_V_BIAS], N, E, E, t->v);
    if (v->qk_norm) {
        rmsnorm_forward(t->q, w->at[WEIGHT_VISION_Q_NORM], v->qk_eps, N, E, t->q, t->r);
        rmsnorm_forward(t->k, w->at[WEIGHT_VISION_K_NORM], v->qk_eps, N, E, t->k, t->r);
    }
    if (v->kind == VISION_QWEN2VL) {
        rope_forward(t->q, t->cos_ + angle, t->sin_ + angle, N, v->heads, D);
        rope_forward(t->k, t->cos_ + angle, t->sin_ + angle, N, v->heads, D);
    }
    const struct attention attention = {.samples = n,
                                        .starts = t->starts + first,
                                        .heads = v->heads,
                                        .kv_heads = v->heads,
                                        .head_dim = D,
                                        .bidirectional = true,
                                        .q = t->q,
                                        .k = t->k,
                                        .v = t->v};
    attention_forward(&attention, t->o, t->log_sums, t->scratch);
    linear_forward(t->o, w->at[WEIGHT_VISION_O], w->at[WEIGHT_VISION_O_BIAS], N, E, E, t->normed);
    add(t->normed, w->at[WEIGHT_VISION_LAYERSCALE1], N, E, x);
}

static void think(const struct vision_tower *t, const struct layer_weights *w, size_t N, float *x)
{
    const struct vision_arch *v = vision_of(t);
    size_t E = v->hidden, F = v->intermediate;
    normalise(t, x, w->at[WEIGHT_VISION_NORM2], w->at[WEIGHT_VISION_NORM2_BIAS], N);
    linear_forward(t->normed, w->at[WEIGHT_VISION_FC1], w->at[WEIGHT_VISION_FC1_BIAS], N, E, F,
                   t->hidden);
    if (v->activation == ACTIVATION_QUICK_GELU)
        quick_gelu_forward(t->hidden, N, F);
    else
        gelu_forward(t->hidden, N, F, t->hidden);
    linear_forward(t->hidden, w->at[WEIGHT_VISION_FC2], w->at[WEIGHT_VISION_FC2_BIAS], N, F, E,
                   t->normed);
    add(t->normed, w->at[WEIGHT_VISION_LAYERSCALE2], N, E, x);
}

static int one_layer(struct vision_tower *t, size_t layer, struct error *e)
{
    size_t E = vision_of(t)->hidden, N = t->starts[t->slices];
    struct layer_weights w;
    if (t->weights->load_layer(t->weights->context, WEIGHT_RANGE_VISION_LAYER, layer, &w, e))
        return -1;
    for (size_t s = 0, n; s < t->slices; s += n) {
        n = 1;
        while (s + n < t->slices && t->starts[s + n + 1] - t->starts[s] <= t->room)
            n++;
        attend(t, &w, s, n, t->x + t->starts[s] * E);
    }
    for (size_t first = 0; first < N; first += ROOM)
        think(t, &w, N - first < ROOM ? N - first : ROOM, t->x + first * E);
    return 0;
}

/* ---- features -------------------------------------------------------------------------------- */

/* The norm behind the last layer, where that is the state that counts. */
static int last_norm(struct vision_tower *t, struct error *e)
{
    const struct vision_arch *v = vision_of(t);
    struct layer_weights w;
    if (!v->final_norm || v->layers_used < v->layers)
        return 0;
    if (t->weights->load_layer(t->weights->context, WEIGHT_RANGE_VISION_OUTSIDE_LAYERS, 0, &w, e))
        return -1;
    layernorm_forward(t->x, w.at[WEIGHT_VISION_FINAL_NORM], w.at[WEIGHT_VISION_FINAL_NORM_BIAS],
                      v->eps, t->starts[t->slices], v->hidden, t->x);
    return 0;
}

/* A tile without its class token (pixel shuffle): merge x merge patches side by side, the blocks by
 * rows, or in v1 by columns. */
static float *shuffle(const struct vision_arch *v, const struct image *p, const float *x, float *to)
{
    size_t E = v->hidden, m = v->merge, rows = p->height / m, columns = p->width / m;
    for (size_t block = 0; block < rows * columns; block++) {
        size_t row = v->shuffle_transposed ? block % rows : block / columns;
        size_t column = v->shuffle_transposed ? block / rows : block % columns;
        for (size_t i = 0; i < m * m; i++, to += E) {
            size_t patch = (row * m + i / m) * p->width + column * m + i % m;
            memcpy(to, x + (1 + patch) * E, E * sizeof *to);
        }
    }
    return to;
}

/* Qwen2-VL's patches lie side by side already. */
static void put_features(const struct vision_tower *t, float *to)
{
    const struct vision_arch *v = vision_of(t);
    const float *x = t->x;
    if (v->kind == VISION_QWEN2VL) {
        memcpy(to, x, t->starts[t->slices] * v->hidden * sizeof *to);
        return;
    }
    for (size_t i = 0; i < t->n; i++)
        for (size_t s = 0; s < t->pictures[i]->slices; s++) {
            to = shuffle(v, t->pictures[i], x, to);
            x += (1 + t->pictures[i]->height * t->pictures[i]->width) * v->hidden;
        }
}

static void start_group(struct vision_tower *t, const struct image *const *pictures, size_t n)
{
    const struct vision_arch *v = vision_of(t);
    size_t s = 0, half = v->hidden / v->heads / 2;
    t->pictures = pictures;
    t->n = n;
    t->slices = 0;
    for (size_t i = 0; i < n; i++)
        t->slices += pictures[i]->slices;
    t->starts = mem_alloc(t->slices + 1, sizeof *t->starts);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < pictures[i]->slices; k++, s++)
            t->starts[s + 1] = t->starts[s] + pictures[i]->height * pictures[i]->width + extra(v);
    size_t N = t->starts[t->slices];
    t->x = mem_alloc_aligned(N * v->hidden * sizeof *t->x);
    t->cos_ = mem_alloc(v->kind == VISION_QWEN2VL ? N * half : 1, sizeof *t->cos_);
    t->sin_ = mem_alloc(v->kind == VISION_QWEN2VL ? N * half : 1, sizeof *t->sin_);
}

static void end_group(struct vision_tower *t)
{
    free(t->starts);
    free(t->x);
    free(t->cos_);
    free(t->sin_);
}

int vision_tower_forward(struct vision_tower *t, const struct image *const *pictures, size_t n,
                         float *features, struct error *e)
{
    start_group(t, pictures, n);
    int failed = embed(t, e);
    for (size_t l = 0; l < vision_of(t)->layers_used && !failed; l++)
        failed = one_layer(t, l, e);
    failed = failed || last_norm(t, e);
    if (!failed)
        put_features(t, features);
    end_group(t);
    return failed ? -1 : 0;
}
