#include "lm.h"

#include "gemm.h"
#include "mem.h"
#include "cross_entropy.h"
#include "image_tokens.h"

#include <stdlib.h>
#include <string.h>

#define PANEL ((size_t)1 << 22) /* floats of the head that are held at once */
#define BLOCK ((size_t)1 << 24) /* floats of logits */

struct lm {
    const struct arch *arch;
    const struct weight_source *weights;
    const struct image_features *sights; /* NULL: there are no pictures */
    size_t room;
    struct layer_workspace *work;
    size_t panel_rows; /* of the head */
    float *panel, *norm;

    uint64_t trace_bytes;        /* that may be taken */
    float *traces;               /* those of the last layers, one after another */
    size_t traces_room;          /* floats */
    size_t traced, trace_floats; /* how many there are now, each of so many floats */
};

struct lm *lm_new(const struct arch *a, const struct weight_source *w, size_t room, size_t longest)
{
    struct lm *m = mem_alloc(1, sizeof *m);
    m->arch = a;
    m->weights = w;
    m->room = room > longest ? room : longest;
    m->work = layer_workspace_new(a, m->room, longest);
    m->panel_rows = PANEL / a->hidden ? PANEL / a->hidden : 1;
    m->panel_rows = m->panel_rows < a->vocab ? m->panel_rows : a->vocab;
    m->panel = mem_alloc_aligned(m->panel_rows * a->hidden * sizeof *m->panel);
    m->norm = mem_alloc_aligned(a->hidden * sizeof *m->norm);
    return m;
}

void lm_free(struct lm *m)
{
    if (!m)
        return;
    layer_workspace_free(m->work);
    free(m->panel);
    free(m->norm);
    free(m->traces);
    free(m);
}

void lm_set_image_features(struct lm *m, const struct image_features *sights)
{
    m->sights = sights;
}

/* ---- traces ---------------------------------------------------------------------------------- */

void lm_set_activation_budget(struct lm *m, uint64_t bytes)
{
    m->trace_bytes = bytes;
}

/* Makes room for those of N tokens, as many as there may be. */
static void reserve_traces(struct lm *m, size_t N)
{
    m->trace_floats = saved_activations_floats(m->arch, N);
    uint64_t most = m->trace_bytes / (m->trace_floats * sizeof *m->traces);
    m->traced = most < m->arch->layers ? (size_t)most : m->arch->layers;
    if (m->traced * m->trace_floats <= m->traces_room)
        return;
    free(m->traces);
    m->traces_room = m->traced * m->trace_floats;
    m->traces = mem_alloc_aligned(m->traces_room * sizeof *m->traces);
}

static bool is_traced(const struct lm *m, size_t layer)
{
    return layer >= m->arch->layers - m->traced;
}

/* Lets a layer work on its trace of the tokens from `first` on of N, if it has one. */
static void choose_trace(const struct lm *m, size_t layer, size_t N, size_t first)
{
    if (!is_traced(m, layer)) {
        layer_workspace_set_saved(m->work, NULL);
        return;
    }
    size_t at = (layer - (m->arch->layers - m->traced)) * m->trace_floats;
    struct saved_activations t = saved_activations_at(m->arch, m->traces + at, N, first);
    layer_workspace_set_saved(m->work, &t);
}

static const float *rows(struct lm *m, enum weight_kind part, size_t first, size_t n, float *to,
                         struct error *e)
{
    return m->weights->load_rows(m->weights->context, part, first, n, to, e);
}

/* ---- forward --------------------------------------------------------------------------------- */

/* x_t = row id_t of the embedding, or of an image */
static int embedding_forward(struct lm *m, const struct token_batch *p, float *x, struct error *e)
{
    size_t d = m->arch->hidden;
    for (size_t t = 0; t < token_batch_tokens(p); t++) {
        if (p->ids[t] == TOKEN_BATCH_IMAGE_TOKEN)
            continue;
        const float *row = rows(m, WEIGHT_EMBEDDING, p->ids[t], 1, x + t * d, e);
        if (!row)
            return -1;
        if (row != x + t * d)
            memcpy(x + t * d, row, d * sizeof *x);
    }
    return image_tokens_forward(m->arch, m->weights, m->sights, p, x, e);
}

/* x = layer(x), sample by sample, as many at once as there is room for. */
static int one_layer_forward(struct lm *m, size_t layer, const struct token_batch *p, float *x,
                             struct error *e)
{
    struct layer_weights w;
    if (m->weights->load_layer(m->weights->context, WEIGHT_RANGE_DECODER_LAYER, layer, &w, e))
        return -1;
    for (size_t s = 0; s < p->samples;) {
        struct token_batch part = token_batch_slice(p, m->arch, s, m->room);
        size_t first = p->starts[s] - p->starts[0];
        float *at = x + first * m->arch->hidden;
        choose_trace(m, layer, token_batch_tokens(p), first);
        decoder_layer_forward(m->arch, layer, &w, &part, at, at, m->work);
        s += part.samples;
    }
    return 0;
}

static int keep(const struct state_hook *keeper, size_t state, const float *x, struct error *e)
{
    return keeper ? keeper->on_state(keeper->context, state, x, e) : 0;
}

int lm_forward(struct lm *m, const struct token_batch *p, float *x, const struct state_hook *keeper,
               struct error *e)
{
    const struct arch *a = m->arch;
    size_t N = token_batch_tokens(p), d = a->hidden;
    reserve_traces(m, N);
    if (embedding_forward(m, p, x, e) || keep(keeper, 0, x, e))
        return -1;
    for (size_t l = 0; l < a->layers; l++)
        if (one_layer_forward(m, l, p, x, e) || keep(keeper, l + 1, x, e))
            return -1;
    const float *norm = rows(m, WEIGHT_FINAL_NORM, 0, d, m->norm, e);
    if (!norm)
        return -1;
    float *r = mem_alloc(N, sizeof *r);
    rmsnorm_forward(x, norm, a->eps, N, d, x, r);
    free(r);
    return keep(keeper, a->layers + 1, x, e);
}

/* ---- logits ---------------------------------------------------------------------------------- */

size_t lm_logits_block_tokens(const struct arch *a)
{
    size_t n = BLOCK / a->vocab;
    return n < 16 ? 16 : n > 1024 ? 1024 : n;
}

int lm_logits(struct lm *m, const float *h, size_t n, float *z, struct error *e)
{
    size_t d = m->arch->hidden, V = m->arch->vocab;
    for (size_t first = 0; first < V; first += m->panel_rows) {
        size_t count = V - first < m->panel_rows ? V - first : m->panel_rows;
        const float *W = rows(m, WEIGHT_LM_HEAD, first, count, m->panel, e);
        if (!W)
            return -1;
        gemm_nt(n, count, d, 1, h, d, W, d, 0, z + first, V);
    }
    return 0;
}

/* z = h W^T: dh = dz W, dW = dz^T h */
int lm_logits_backward(struct lm *m, const float *dz, const float *h, size_t n, float *dh,
                       const struct gradient_sink *taker, struct error *e)
{
    size_t d = m->arch->hidden, V = m->arch->vocab;
    for (size_t first = 0; first < V; first += m->panel_rows) {
        size_t count = V - first < m->panel_rows ? V - first : m->panel_rows;
        const float *W = rows(m, WEIGHT_LM_HEAD, first, count, m->panel, e);
        if (!W)
            return -1;
        gemm_nn(n, d, count, 1, dz + first, V, W, d, first ? 1 : 0, dh, d);
    }
    struct weight_gradient g = {
        .kind = WEIGHT_LM_HEAD, .tokens = n, .rows = V, .columns = d, .dy = dz, .x = h};
    if (taker->wants(taker->context, WEIGHT_LM_HEAD, 0))
        taker->add(taker->context, &g);
    return 0;
}

/* ---- backward -------------------------------------------------------------------------------- */

/* x_{L+1} = rmsnorm(x_L): dx becomes the gradient by x_L. */
static int norm_backward(struct lm *m, const struct token_batch *p,
                         const struct backward_hooks *tape, float *dx,
                         const struct gradient_sink *taker, struct error *e)
{
    size_t N = token_batch_tokens(p), d = m->arch->hidden;
    const float *x = tape->load_state(tape->context, m->arch->layers, e);
    const float *norm = x ? rows(m, WEIGHT_FINAL_NORM, 0, d, m->norm, e) : NULL;
    if (!norm)
        return -1;
    float *dy = mem_alloc_aligned(N * d * sizeof *dy), *r = mem_alloc(N, sizeof *r);
    rmsnorm_forward(x, norm, m->arch->eps, N, d, dy, r); /* for r */
    memcpy(dy, dx, N * d * sizeof *dy);
    memset(dx, 0, N * d * sizeof *dx);
    rmsnorm_backward(dy, x, norm, r, N, d, dx);
    if (taker->wants(taker->context, WEIGHT_FINAL_NORM, 0)) {
        rmsnorm_backward_gain(dy, x, r, N, d, dy);
        struct weight_gradient g = {.kind = WEIGHT_FINAL_NORM, .tokens = N, .rows = d, .dy = dy};
        taker->add(taker->context, &g);
    }
    free(dy);
    free(r);
    return 0;
}

static int one_layer_backward(struct lm *m, size_t layer, const struct token_batch *p,
                              const struct backward_hooks *tape, float *dx, bool dx_wanted,
                              const struct gradient_sink *taker, struct error *e)
{
    struct layer_weights w;
    const float *x = tape->load_state(tape->context, layer, e);
    if (!x || m->weights->load_layer(m->weights->context, WEIGHT_RANGE_DECODER_LAYER, layer, &w, e))
        return -1;
    for (size_t s = 0; s < p->samples;) {
        struct token_batch part = token_batch_slice(p, m->arch, s, m->room);
        size_t first = p->starts[s] - p->starts[0], at = first * m->arch->hidden;
        choose_trace(m, layer, token_batch_tokens(p), first);
        if (is_traced(m, layer))
            decoder_layer_recompute(m->arch, &w, &part, x + at, m->work);
        else
            decoder_layer_forward(m->arch, layer, &w, &part, x + at, NULL, m->work);
        decoder_layer_backward(m->arch, layer, &w, &part, x + at, dx + at, dx_wanted, taker,
                               m->work);
        s += part.samples;
    }
    return 0;
}

/* The lowest layer of which something is wanted; L if it is none. */
static size_t lowest_wanted(const struct arch *a, const struct gradient_sink *taker)
{
    for (size_t l = 0; l < a->layers; l++)
        for (enum weight_kind part = 0; part < WEIGHT_DECODER_LAYER_END; part++)
            if (weight_kind_elements(a, part) && taker->wants(taker->context, part, l))
                return l;
    return a->layers;
}

int lm_backward(struct lm *m, const struct token_batch *p, const struct backward_hooks *tape,
                float *dx, const struct gradient_sink *taker, struct error *e)
{
    const struct arch *a = m->arch;
    bool embedding = taker->wants(taker->context, WEIGHT_EMBEDDING, 0);
    bool visual = image_tokens_need_gradient(a, p, taker);
    size_t lowest = embedding || visual ? 0 : lowest_wanted(a, taker);
    if (norm_backward(m, p, tape, dx, taker, e))
        return -1;
    for (size_t l = a->layers; l-- > lowest;) {
        bool dx_wanted = l > lowest || embedding || visual;
        if (one_layer_backward(m, l, p, tape, dx, dx_wanted, taker, e))
            return -1;
        if (tape->add_state_gradient && dx_wanted)
            tape->add_state_gradient(tape->context, l, dx);
    }
    struct weight_gradient g = {.kind = WEIGHT_EMBEDDING,
                                .tokens = token_batch_tokens(p),
                                .rows = a->vocab,
                                .columns = a->hidden,
                                .dy = dx,
                                .token_ids = p->ids};
    if (embedding)
        taker->add(taker->context, &g);
    return visual ? image_tokens_backward(a, m->weights, m->sights, p, dx, taker, e) : 0;
}
