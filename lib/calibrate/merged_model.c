#include "merged_model.h"

#include "vector_math.h"
#include "simd.h"
#include "parallel_for.h"

#include <stdlib.h>
#include <string.h>

#define TILE  ((size_t)1 << 13) /* elements that a thread merges, or multiplies, at a time */
#define PANEL ((size_t)1 << 22) /* elements of a weight gradient that are in memory at a time */

/* How one weight of the model is merged. */
struct merged_weight {
    size_t chunks;
    const double *alpha; /* (experts, chunks); NULL: the base's weight */
    double *gradient;    /* (experts, chunks); NULL: not wanted */
};

/* A thread's memory. */
struct thread_tiles {
    float tau[TILE], base[TILE];
};

struct merged_model {
    const struct model_weights *base;
    struct task_vector_source task_vectors;
    size_t experts;
    enum dtype rounding;
    struct merged_weight *weights; /* [weight_kind_index] */
    struct weight_source weight_source;
    struct gradient_sink gradient_sink;
    float *layer;               /* the merged weights of one layer; NULL: no memory yet */
    long loaded;                /* the weight_kind_index of its first weight; -1: none */
    struct thread_tiles *tiles; /* [thread of parallel_for.h] */
    float *panel;               /* (PANEL, or one row if that is longer) */
    double *sums;
    size_t panel_capacity, sums_capacity;
    struct error error; /* of the gradient sink */
    bool failed;
};

static const struct arch *arch_of(const struct merged_model *m)
{
    return model_weights_arch(m->base);
}

static struct merged_weight *find_merged_weight(const struct merged_model *m, enum weight_kind kind,
                                                size_t layer)
{
    if (kind == WEIGHT_LM_HEAD && model_weights_tensor_index(m->base, WEIGHT_LM_HEAD, 0) ==
                                      model_weights_tensor_index(m->base, WEIGHT_EMBEDDING, 0))
        kind = WEIGHT_EMBEDDING;
    return &m->weights[weight_kind_index(arch_of(m), kind, layer)];
}

static size_t compute_chunk_size(size_t elements, size_t chunks)
{
    return (elements + chunks - 1) / chunks;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- M = W + sum_k alpha_k tau_k ------------------------------------------------------------- */

TV_CLONES
static void add_scaled_vector(float alpha, const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += alpha * x[i];
}

static bool are_all_zero(const double *alpha, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (alpha[i] != 0)
            return false;
    return true;
}

/* y += alpha tau for n elements from `first` on, which may lie in several chunks of `size`. */
static void add_scaled_chunks(const double *alpha, size_t first, size_t n, size_t size,
                              const float *tau, float *y)
{
    for (size_t done = 0; done < n;) {
        size_t chunk = (first + done) / size, end = min_size((chunk + 1) * size - first, n);
        add_scaled_vector((float)alpha[chunk], tau + done, y + done, end - done);
        done = end;
    }
}

/* Merges one range of a weight, of at most TILE elements, into `to`. */
static int merge_weight_tile(const struct merged_model *m, struct task_vector_range range,
                             float *to, struct thread_tiles *tiles, struct error *e)
{
    const float *base = NULL;
    const struct merged_weight *w = find_merged_weight(m, range.kind, range.layer);
    size_t size = compute_chunk_size(weight_kind_elements(arch_of(m), range.kind), w->chunks);
    size_t first_chunk = range.first / size, last_chunk = (range.first + range.n - 1) / size;
    model_weights_read(m->base, range.kind, range.layer, range.first, range.n, to);
    if (w->alpha && m->task_vectors.needs_base)
        base = memcpy(tiles->base, to, range.n * sizeof *to);
    if (m->rounding != DTYPE_NONE)
        dtype_round_f32_to_precision(m->rounding, to, range.n);
    for (range.expert = 0; w->alpha && range.expert < m->experts; range.expert++) {
        const double *alpha = w->alpha + range.expert * w->chunks;
        if (are_all_zero(alpha + first_chunk, last_chunk - first_chunk + 1))
            continue;
        if (m->task_vectors.read(m->task_vectors.context, &range, base, tiles->tau, e))
            return -1;
        add_scaled_chunks(alpha, range.first, range.n, size, tiles->tau, to);
    }
    return 0;
}

/* A range of a weight that threads merge in tiles. */
struct merge_job {
    const struct merged_model *model;
    struct task_vector_range range;
    float *to;
};

static int merge_weight_tile_of_job(void *context, size_t tile, size_t thread, struct error *e)
{
    const struct merge_job *job = context;
    struct task_vector_range range = job->range;
    size_t done = tile * TILE;
    range.first += done;
    range.n = min_size(range.n - done, TILE);
    return merge_weight_tile(job->model, range, job->to + done, &job->model->tiles[thread], e);
}

static int merge_weight_range(const struct merged_model *m, struct task_vector_range range,
                              float *to, struct error *e)
{
    struct merge_job job = {m, range, to};
    return parallel_for_checked((range.n + TILE - 1) / TILE, TILE, merge_weight_tile_of_job, &job,
                                e);
}

/* For struct weight_source: the merged weights of a layer, which stay until the next call. */
static int load_layer(void *context, struct weight_range kinds, size_t layer,
                      struct layer_weights *w, struct error *e)
{
    struct merged_model *m = context;
    size_t offset = 0;
    long index = (long)weight_kind_index(arch_of(m), kinds.first, layer);
    bool is_loaded = m->loaded == index;
    m->loaded = -1;
    *w = (struct layer_weights){{0}};
    if (!m->layer)
        m->layer = mem_alloc_aligned(weight_kind_largest_range(arch_of(m)) * sizeof *m->layer);
    for (enum weight_kind kind = kinds.first; kind < kinds.end; kind++) {
        size_t n = weight_kind_elements(arch_of(m), kind);
        const struct task_vector_range whole = {.kind = kind, .layer = layer, .n = n};
        w->at[kind] = n ? m->layer + offset : NULL;
        if (n && !is_loaded && merge_weight_range(m, whole, m->layer + offset, e))
            return -1;
        offset += n;
    }
    m->loaded = index;
    return 0;
}

/* For struct weight_source: rows of embedding or head, merged into `to`. */
static const float *load_rows(void *context, enum weight_kind kind, size_t first, size_t n,
                              float *to, struct error *e)
{
    struct merged_model *m = context;
    size_t rows, columns;
    if (!find_merged_weight(m, kind, 0)->alpha && m->rounding == DTYPE_NONE) {
        const struct weight_source *base = model_weights_weight_source(m->base);
        return base->load_rows(base->context, kind, first, n, to, e);
    }
    weight_kind_find_shape(arch_of(m), kind, &rows, &columns);
    size_t width = columns ? columns : 1;
    const struct task_vector_range range = {.kind = kind, .first = first * width, .n = n * width};
    return merge_weight_range(m, range, to, e) ? NULL : to;
}

/* ---- dL/d alpha_k = <dL/dM, tau_k> ----------------------------------------------------------- */

static bool weight_wants_gradient(void *context, enum weight_kind kind, size_t layer)
{
    return find_merged_weight(context, kind, layer)->gradient != NULL;
}

/* A panel: rows of one weight gradient, as elements first .. first + n - 1 of the weight. They lie
 * in chunks from first_chunk on. Each tile has one sum per expert and chunk that it touches; the
 * next tile may begin in the chunk in which this one ends, and then both have a sum for it. */
struct panel {
    const struct merged_model *model;
    enum weight_kind kind;
    size_t layer, first, n;
    size_t chunk_size, first_chunk;
};

/* (chunks that the tile touches, experts) */
static double *find_sums_of_tile(const struct panel *p, size_t tile)
{
    size_t chunk = (p->first + tile * TILE) / p->chunk_size;
    return p->model->sums + (chunk - p->first_chunk + tile) * p->model->experts;
}

/* The inner products of a tile of the panel and of all experts' task vectors. */
static int compute_tile_dot_products(void *context, size_t tile, size_t thread, struct error *e)
{
    const struct panel *p = context;
    const struct merged_model *m = p->model;
    float *tau = m->tiles[thread].tau, *base = NULL;
    size_t from = tile * TILE, n = min_size(p->n - from, TILE), first = p->first + from;
    if (m->task_vectors.needs_base) {
        base = m->tiles[thread].base;
        model_weights_read(m->base, p->kind, p->layer, first, n, base);
    }
    for (size_t k = 0; k < m->experts; k++) {
        const struct task_vector_range range = {p->kind, p->layer, k, first, n};
        double *sum = find_sums_of_tile(p, tile) + k;
        if (m->task_vectors.read(m->task_vectors.context, &range, base, tau, e))
            return -1;
        for (size_t done = 0; done < n; sum += m->experts) {
            size_t chunk = (first + done) / p->chunk_size;
            size_t end = min_size((chunk + 1) * p->chunk_size - first, n);
            *sum = vector_math_dot(m->panel + from + done, tau + done, end - done);
            done = end;
        }
    }
    return 0;
}

/* Adds the sums of all tiles to the coefficients' gradients, in the order of the tiles: the result
 * does not depend on the number of threads. */
static void add_tile_sums_to_coefficient_gradients(const struct panel *p,
                                                   const struct merged_weight *w)
{
    size_t experts = p->model->experts, end = p->first + p->n;
    for (size_t tile = 0; tile * TILE < p->n; tile++) {
        size_t first = p->first + tile * TILE, last = min_size(first + TILE, end) - 1;
        const double *sum = find_sums_of_tile(p, tile);
        for (size_t c = first / p->chunk_size; c <= last / p->chunk_size; c++)
            for (size_t k = 0; k < experts; k++)
                w->gradient[k * w->chunks + c] += *sum++;
    }
}

static void reserve_tile_sums(struct merged_model *m, const struct panel *p)
{
    size_t last_chunk = (p->first + p->n - 1) / p->chunk_size, tiles = (p->n + TILE - 1) / TILE;
    size_t needed = (last_chunk - p->first_chunk + tiles + 1) * m->experts;
    if (needed <= m->sums_capacity)
        return;
    m->sums = mem_resize(m->sums, needed, sizeof *m->sums);
    m->sums_capacity = needed;
}

/* Computes some rows of a weight gradient, and adds their inner products with the task vectors. */
static int compute_and_reduce_gradient_rows(struct merged_model *m, const struct weight_gradient *g,
                                            size_t first_row, size_t rows, struct error *e)
{
    const struct merged_weight *w = find_merged_weight(m, g->kind, g->layer);
    size_t width = g->columns ? g->columns : 1;
    struct panel p = {.model = m,
                      .kind = g->kind,
                      .layer = g->layer,
                      .first = first_row * width,
                      .n = rows * width,
                      .chunk_size = compute_chunk_size(g->rows * width, w->chunks)};
    p.first_chunk = p.first / p.chunk_size;
    reserve_tile_sums(m, &p);
    weight_gradient_compute_rows(g, first_row, rows, m->panel);
    if (parallel_for_checked((p.n + TILE - 1) / TILE, TILE, compute_tile_dot_products, &p, e))
        return -1;
    add_tile_sums_to_coefficient_gradients(&p, w);
    return 0;
}

/* For struct gradient_sink. */
static void reduce_weight_gradient_to_coefficients(void *context, const struct weight_gradient *g)
{
    struct merged_model *m = context;
    size_t width = g->columns ? g->columns : 1;
    size_t rows = min_size(PANEL / width ? PANEL / width : 1, g->rows);
    if (rows * width > m->panel_capacity) {
        free(m->panel);
        m->panel = mem_alloc_aligned(rows * width * sizeof *m->panel);
        m->panel_capacity = rows * width;
    }
    for (size_t row = 0; row < g->rows && !m->failed; row += rows)
        m->failed = compute_and_reduce_gradient_rows(m, g, row, min_size(g->rows - row, rows),
                                                     &m->error) != 0;
}

int merged_model_report_gradient_error(struct merged_model *m, struct error *e)
{
    if (!m->failed)
        return 0;
    *e = m->error;
    return -1;
}

/* ---- the model ------------------------------------------------------------------------------- */

struct merged_model *merged_model_new(const struct model_weights *base,
                                      const struct task_vector_source *v, size_t experts,
                                      enum dtype rounding)
{
    struct merged_model *m = mem_alloc(1, sizeof *m);
    size_t n = weight_kind_index_count(model_weights_arch(base));
    m->base = base;
    m->task_vectors = *v;
    m->experts = experts;
    m->rounding = rounding;
    m->loaded = -1;
    m->weight_source = (struct weight_source){m, load_layer, load_rows};
    m->gradient_sink =
        (struct gradient_sink){m, weight_wants_gradient, reduce_weight_gradient_to_coefficients};
    m->weights = mem_alloc(n, sizeof *m->weights);
    for (size_t i = 0; i < n; i++)
        m->weights[i].chunks = 1;
    m->tiles = mem_alloc_aligned(parallel_thread_count() * sizeof *m->tiles);
    return m;
}

void merged_model_free(struct merged_model *m)
{
    if (!m)
        return;
    free(m->weights);
    free(m->layer);
    free(m->tiles);
    free(m->panel);
    free(m->sums);
    free(m);
}

void merged_model_set_coefficients(struct merged_model *m, enum weight_kind kind, size_t layer,
                                   size_t chunks, const double *alpha, double *gradient)
{
    *find_merged_weight(m, kind, layer) =
        (struct merged_weight){chunks ? chunks : 1, alpha, gradient};
    merged_model_discard_loaded_layer(m);
}

void merged_model_discard_loaded_layer(struct merged_model *m)
{
    m->loaded = -1;
}

void merged_model_release_layer(struct merged_model *m)
{
    free(m->layer);
    m->layer = NULL;
    merged_model_discard_loaded_layer(m);
}

const struct weight_source *merged_model_weight_source(struct merged_model *m)
{
    return &m->weight_source;
}

const struct gradient_sink *merged_model_gradient_sink(struct merged_model *m)
{
    return &m->gradient_sink;
}
