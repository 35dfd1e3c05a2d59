#include "merged_model.h"

#include "vector_math.h"
#include "simd.h"
#include "parallel_for.h"

#include <stdlib.h>
#include <string.h>

#define PIECE ((size_t)1 << 13) /* elements that a thread merges at a time */
#define PANEL ((size_t)1 << 22) /* elements of a gradient that are held */

struct tensor_of {
    size_t chunks;
    const double *alpha; /* NULL: the base's */
    double *gradient;    /* NULL: not wanted */
};

/* A thread's memory. */
struct scratch {
    float tau[PIECE], base[PIECE];
};

struct merged_model {
    const struct model_weights *base;
    struct task_vector_source vectors;
    size_t experts;
    enum dtype rounding;
    struct tensor_of *tensors; /* [weight_kind_index] */
    struct weight_source weights;
    struct gradient_sink taker;
    float *layer;            /* the one that is held, NULL until one is asked for */
    long held;               /* the number of its first part (weight_kind_index); -1: none */
    struct scratch *scratch; /* [member of parallel_for.h] */
    float *panel;            /* (PANEL or a row) */
    double *sums;
    size_t panel_room, sums_room;
    struct error error; /* of the taker */
    bool failed;
};

static const struct arch *arch_of(const struct merged_model *m)
{
    return model_weights_arch(m->base);
}

static struct tensor_of *tensor_at(const struct merged_model *m, enum weight_kind part,
                                   size_t layer)
{
    if (part == WEIGHT_LM_HEAD && model_weights_tensor_index(m->base, WEIGHT_LM_HEAD, 0) ==
                                      model_weights_tensor_index(m->base, WEIGHT_EMBEDDING, 0))
        part = WEIGHT_EMBEDDING;
    return &m->tensors[weight_kind_index(arch_of(m), part, layer)];
}

/* ---- M = W + sum_k alpha_k tau_k ------------------------------------------------------------- */

TV_CLONES
static void add_scaled(float alpha, const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += alpha * x[i];
}

/* Elements that chunk c of n elements in `chunks` ends before. */
static size_t chunk_end(size_t c, size_t n, size_t chunks)
{
    size_t end = (c + 1) * ((n + chunks - 1) / chunks);
    return end < n ? end : n;
}

static bool all_zero(const double *alpha, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (alpha[i] != 0)
            return false;
    return true;
}

/* Elements first .. first + n - 1 of a part, n <= PIECE. */
static int merge_piece(const struct merged_model *m, enum weight_kind part, size_t layer,
                       size_t first, size_t n, float *to, struct scratch *scratch, struct error *e)
{
    const float *base = NULL;
    float *tau = scratch->tau;
    const struct tensor_of *t = tensor_at(m, part, layer);
    size_t all = weight_kind_elements(arch_of(m), part), size = (all + t->chunks - 1) / t->chunks;
    model_weights_read(m->base, part, layer, first, n, to);
    if (t->alpha && m->vectors.needs_base)
        base = memcpy(scratch->base, to, n * sizeof *to);
    if (m->rounding != DTYPE_NONE)
        dtype_round_f32(m->rounding, to, n);
    for (size_t k = 0; t->alpha && k < m->experts; k++) {
        const double *alpha = t->alpha + k * t->chunks;
        size_t low = first / size, high = (first + n - 1) / size;
        if (all_zero(alpha + low, high - low + 1))
            continue;
        if (m->vectors.read(m->vectors.context, part, layer, k, first, n, base, tau, e))
            return -1;
        for (size_t c = low, done = 0; c <= high; c++) {
            size_t end = chunk_end(c, all, t->chunks) - first;
            end = end < n ? end : n;
            add_scaled((float)alpha[c], tau + done, to + done, end - done);
            done = end;
        }
    }
    return 0;
}

/* Elements of a part that are being merged. */
struct merging {
    const struct merged_model *merged;
    enum weight_kind part;
    size_t layer, first, n;
    float *to;
};

static int merge_one(void *context, size_t piece, size_t member, struct error *e)
{
    const struct merging *g = context;
    size_t done = piece * PIECE, count = g->n - done < PIECE ? g->n - done : PIECE;
    return merge_piece(g->merged, g->part, g->layer, g->first + done, count, g->to + done,
                       &g->merged->scratch[member], e);
}

static int merge(const struct merged_model *m, enum weight_kind part, size_t layer, size_t first,
                 size_t n, float *to, struct error *e)
{
    struct merging g = {m, part, layer, first, n, to};
    return parallel_for_checked((n + PIECE - 1) / PIECE, PIECE, merge_one, &g, e);
}

static int give_layer(void *context, struct weight_range parts, size_t layer,
                      struct layer_weights *w, struct error *e)
{
    struct merged_model *m = context;
    size_t at = 0;
    long number = (long)weight_kind_index(arch_of(m), parts.first, layer);
    bool there = m->held == number;
    m->held = -1;
    *w = (struct layer_weights){{0}};
    if (!m->layer)
        m->layer = mem_alloc_aligned(weight_kind_largest_range(arch_of(m)) * sizeof *m->layer);
    for (enum weight_kind part = parts.first; part < parts.end; part++) {
        size_t n = weight_kind_elements(arch_of(m), part);
        w->at[part] = n ? m->layer + at : NULL;
        if (n && !there && merge(m, part, layer, 0, n, m->layer + at, e))
            return -1;
        at += n;
    }
    m->held = number;
    return 0;
}

static const float *give_rows(void *context, enum weight_kind part, size_t first, size_t n,
                              float *to, struct error *e)
{
    struct merged_model *m = context;
    size_t rows, columns;
    if (!tensor_at(m, part, 0)->alpha && m->rounding == DTYPE_NONE) {
        const struct weight_source *own = model_weights_weight_source(m->base);
        return own->load_rows(own->context, part, first, n, to, e);
    }
    weight_kind_shape(arch_of(m), part, &rows, &columns);
    size_t width = columns ? columns : 1;
    return merge(m, part, 0, first * width, n * width, to, e) ? NULL : to;
}

/* ---- dL/d alpha_k = <dL/dM, tau_k> ----------------------------------------------------------- */

static bool wants(void *context, enum weight_kind part, size_t layer)
{
    return tensor_at(context, part, layer)->gradient != NULL;
}

/* One panel of a gradient: elements first .. first + n - 1, which lie in chunks low .. high. Piece
 * p has a sum for each expert and each chunk that it touches; the next piece begins with the chunk
 * with which this one ends. */
struct panel {
    const struct merged_model *merged;
    enum weight_kind part;
    size_t layer, first, n, size, low, high; /* size: of a chunk */
};

static double *sums_of_piece(const struct panel *p, size_t piece)
{
    size_t chunk = (p->first + piece * PIECE) / p->size;
    return p->merged->sums + (chunk - p->low + piece) * p->merged->experts;
}

static int dots_of_piece(void *context, size_t piece, size_t member, struct error *e)
{
    const struct panel *p = context;
    const struct merged_model *m = p->merged;
    float *tau = m->scratch[member].tau, *base = NULL;
    size_t from = piece * PIECE, n = p->n - from < PIECE ? p->n - from : PIECE;
    size_t first = p->first + from;
    if (m->vectors.needs_base) {
        base = m->scratch[member].base;
        model_weights_read(m->base, p->part, p->layer, first, n, base);
    }
    for (size_t k = 0; k < m->experts; k++) {
        double *sum = sums_of_piece(p, piece) + k;
        if (m->vectors.read(m->vectors.context, p->part, p->layer, k, first, n, base, tau, e))
            return -1;
        for (size_t done = 0; done < n; sum += m->experts) {
            size_t end = ((first + done) / p->size + 1) * p->size - first;
            end = end < n ? end : n;
            *sum = vector_math_dot(m->panel + from + done, tau + done, end - done);
            done = end;
        }
    }
    return 0;
}

/* Adds the sums in order, so that the number of threads does not matter. */
static void add_sums(const struct panel *p, const struct tensor_of *t)
{
    size_t experts = p->merged->experts;
    for (size_t piece = 0; piece * PIECE < p->n; piece++) {
        size_t from = p->first + piece * PIECE, last = p->first + p->n - 1;
        last = from + PIECE - 1 < last ? from + PIECE - 1 : last;
        const double *sum = sums_of_piece(p, piece);
        for (size_t c = from / p->size; c <= last / p->size; c++)
            for (size_t k = 0; k < experts; k++)
                t->gradient[k * t->chunks + c] += *sum++;
    }
}

static int take_panel(struct merged_model *m, const struct weight_gradient *g, size_t first_row,
                      size_t rows, struct error *e)
{
    const struct tensor_of *t = tensor_at(m, g->kind, g->layer);
    size_t width = g->columns ? g->columns : 1, all = g->rows * width;
    struct panel p = {m, g->kind, g->layer, first_row * width, rows * width, 0, 0, 0};
    p.size = (all + t->chunks - 1) / t->chunks;
    p.low = p.first / p.size;
    p.high = (p.first + p.n - 1) / p.size;
    size_t pieces = (p.n + PIECE - 1) / PIECE;
    size_t room = (p.high - p.low + pieces + 1) * m->experts;
    if (room > m->sums_room) {
        m->sums = mem_resize(m->sums, room, sizeof *m->sums);
        m->sums_room = room;
    }
    weight_gradient_compute_rows(g, first_row, rows, m->panel);
    if (parallel_for_checked(pieces, PIECE, dots_of_piece, &p, e))
        return -1;
    add_sums(&p, t);
    return 0;
}

static void take(void *context, const struct weight_gradient *g)
{
    struct merged_model *m = context;
    size_t width = g->columns ? g->columns : 1;
    size_t rows = PANEL / width ? PANEL / width : 1;
    rows = rows < g->rows ? rows : g->rows;
    if (rows * width > m->panel_room) {
        free(m->panel);
        m->panel = mem_alloc_aligned(rows * width * sizeof *m->panel);
        m->panel_room = rows * width;
    }
    for (size_t row = 0; row < g->rows && !m->failed; row += rows)
        m->failed =
            take_panel(m, g, row, g->rows - row < rows ? g->rows - row : rows, &m->error) != 0;
}

int merged_model_check_gradients(struct merged_model *m, struct error *e)
{
    if (!m->failed)
        return 0;
    *e = m->error;
    return -1;
}

/* ---- around it ------------------------------------------------------------------------------- */

struct merged_model *merged_model_new(const struct model_weights *base,
                                      const struct task_vector_source *v, size_t experts,
                                      enum dtype rounding)
{
    struct merged_model *m = mem_alloc(1, sizeof *m);
    const struct arch *a = model_weights_arch(base);
    size_t n = weight_kind_index_count(a);
    m->base = base;
    m->vectors = *v;
    m->experts = experts;
    m->rounding = rounding;
    m->held = -1;
    m->weights = (struct weight_source){m, give_layer, give_rows};
    m->taker = (struct gradient_sink){m, wants, take};
    m->tensors = mem_alloc(n, sizeof *m->tensors);
    for (size_t i = 0; i < n; i++)
        m->tensors[i].chunks = 1;
    m->scratch = mem_alloc_aligned(parallel_thread_count() * sizeof *m->scratch);
    return m;
}

void merged_model_free(struct merged_model *m)
{
    if (!m)
        return;
    free(m->tensors);
    free(m->layer);
    free(m->scratch);
    free(m->panel);
    free(m->sums);
    free(m);
}

void merged_model_set_coefficients(struct merged_model *m, enum weight_kind part, size_t layer,
                                   size_t chunks, const double *alpha, double *gradient)
{
    *tensor_at(m, part, layer) = (struct tensor_of){chunks ? chunks : 1, alpha, gradient};
    m->held = -1;
}

void merged_model_invalidate(struct merged_model *m)
{
    m->held = -1;
}

void merged_model_release_layer(struct merged_model *m)
{
    free(m->layer);
    m->layer = NULL;
    m->held = -1;
}

const struct weight_source *merged_model_weight_source(struct merged_model *m)
{
    return &m->weights;
}

const struct gradient_sink *merged_model_gradient_sink(struct merged_model *m)
{
    return &m->taker;
}
