#include "lm.h"

#include "gemm.h"
#include "image_token_embeddings.h"
#include "mem.h"
#include "rmsnorm.h"

#include <stdlib.h>
#include <string.h>

#define HEAD_FLOATS   ((size_t)1 << 22) /* of the LM head that are held at once */
#define LOGITS_FLOATS ((size_t)1 << 24) /* of a block of logits */

struct lm {
    const struct arch *arch;
    const struct weight_source *weights;
    const struct image_features *image_features; /* NULL: batches have no images */
    size_t room;
    struct layer_workspace *workspace;
    size_t head_rows; /* of the LM head that are held at once */
    float *head, *norm;

    uint64_t activation_budget; /* bytes */
    float *saved;               /* activations of the last layers, one layer after another */
    size_t saved_room;          /* floats allocated */
    size_t saved_layers, saved_floats_per_layer;
};

struct lm *lm_new(const struct arch *a, const struct weight_source *w, size_t room, size_t longest)
{
    struct lm *m = mem_alloc(1, sizeof *m);
    m->arch = a;
    m->weights = w;
    m->room = room > longest ? room : longest;
    m->workspace = layer_workspace_new(a, m->room, longest);
    m->head_rows = HEAD_FLOATS / a->hidden ? HEAD_FLOATS / a->hidden : 1;
    m->head_rows = m->head_rows < a->vocab ? m->head_rows : a->vocab;
    m->head = mem_alloc_aligned(m->head_rows * a->hidden * sizeof *m->head);
    m->norm = mem_alloc_aligned(a->hidden * sizeof *m->norm);
    return m;
}

void lm_free(struct lm *m)
{
    if (!m)
        return;
    layer_workspace_free(m->workspace);
    free(m->head);
    free(m->norm);
    free(m->saved);
    free(m);
}

void lm_set_image_features(struct lm *m, const struct image_features *f)
{
    m->image_features = f;
}

/* ---- saved activations ----------------------------------------------------------------------- */

void lm_set_activation_budget(struct lm *m, uint64_t bytes)
{
    m->activation_budget = bytes;
}

/* Decides how many layers are saved for a batch of N tokens, and allocates their memory. */
static void allocate_saved_activations(struct lm *m, size_t N)
{
    m->saved_floats_per_layer = saved_activations_floats(m->arch, N);
    uint64_t layers = m->activation_budget / (m->saved_floats_per_layer * sizeof *m->saved);
    m->saved_layers = layers < m->arch->layers ? (size_t)layers : m->arch->layers;
    if (m->saved_layers * m->saved_floats_per_layer <= m->saved_room)
        return;
    free(m->saved);
    m->saved_room = m->saved_layers * m->saved_floats_per_layer;
    m->saved = mem_alloc_aligned(m->saved_room * sizeof *m->saved);
}

static bool layer_activations_are_saved(const struct lm *m, size_t layer)
{
    return layer >= m->arch->layers - m->saved_layers;
}

/* Makes the workspace use the layer's saved activations, if it has any, from token `first` of N on.
 */
static void point_workspace_to_saved_activations(const struct lm *m, size_t layer, size_t N,
                                                 size_t first)
{
    if (!layer_activations_are_saved(m, layer)) {
        layer_workspace_set_saved(m->workspace, NULL);
        return;
    }
    size_t at = (layer - (m->arch->layers - m->saved_layers)) * m->saved_floats_per_layer;
    struct saved_activations s = saved_activations_at(m->arch, m->saved + at, N, first);
    layer_workspace_set_saved(m->workspace, &s);
}

/* ---- weights --------------------------------------------------------------------------------- */

static const float *load_weight_rows(struct lm *m, enum weight_kind kind, size_t first, size_t n,
                                     float *to, struct error *e)
{
    return m->weights->load_rows(m->weights->context, kind, first, n, to, e);
}

static int load_decoder_layer(struct lm *m, size_t layer, struct layer_weights *w, struct error *e)
{
    return m->weights->load_layer(m->weights->context, WEIGHT_RANGE_DECODER_LAYER, layer, w, e);
}

/* ---- forward --------------------------------------------------------------------------------- */

/* x_t = row token_t of the embedding, or of the projector's output for an image */
int lm_forward_embedding(struct lm *m, const struct token_batch *b, float *x, struct error *e)
{
    size_t d = m->arch->hidden;
    for (size_t t = 0; t < token_batch_tokens(b); t++) {
        if (b->ids[t] == TOKEN_BATCH_IMAGE_TOKEN)
            continue;
        const float *row = load_weight_rows(m, WEIGHT_EMBEDDING, b->ids[t], 1, x + t * d, e);
        if (!row)
            return -1;
        if (row != x + t * d)
            memcpy(x + t * d, row, d * sizeof *x);
    }
    return image_token_embeddings_forward(m->arch, m->weights, m->image_features, b, x, e);
}

/* x = layer(x), as many samples at a time as there is room for */
int lm_forward_layer(struct lm *m, size_t layer, const struct token_batch *b, float *x,
                     const struct layer_hook *hook, struct error *e)
{
    struct layer_weights w;
    if (load_decoder_layer(m, layer, &w, e))
        return -1;
    for (size_t s = 0; s < b->samples;) {
        struct token_batch slice = token_batch_slice(b, m->arch, s, m->room);
        size_t first = b->starts[s] - b->starts[0];
        float *at = x + first * m->arch->hidden;
        const struct decoder_layer l = {m->arch, layer, &w, &slice, m->workspace};
        point_workspace_to_saved_activations(m, layer, token_batch_tokens(b), first);
        decoder_layer_forward(&l, at, at);
        if (hook)
            hook->on_layer(hook->context, &l);
        s += slice.samples;
    }
    return 0;
}

/* x_{L+1} = rmsnorm(x_L), in place */
int lm_forward_final_norm(struct lm *m, size_t N, float *x, struct error *e)
{
    size_t d = m->arch->hidden;
    const float *g = load_weight_rows(m, WEIGHT_FINAL_NORM, 0, d, m->norm, e);
    if (!g)
        return -1;
    float *r = mem_alloc(N, sizeof *r);
    rmsnorm_forward(x, g, m->arch->eps, N, d, x, r);
    free(r);
    return 0;
}

static int call_hidden_state_hook(const struct state_hook *hook, size_t state, const float *x,
                                  struct error *e)
{
    return hook ? hook->on_state(hook->context, state, x, e) : 0;
}

int lm_forward(struct lm *m, const struct token_batch *b, float *x, const struct state_hook *hook,
               struct error *e)
{
    size_t N = token_batch_tokens(b), L = m->arch->layers;
    allocate_saved_activations(m, N);
    if (lm_forward_embedding(m, b, x, e) || call_hidden_state_hook(hook, 0, x, e))
        return -1;
    for (size_t l = 0; l < L; l++)
        if (lm_forward_layer(m, l, b, x, NULL, e) || call_hidden_state_hook(hook, l + 1, x, e))
            return -1;
    return lm_forward_final_norm(m, N, x, e) || call_hidden_state_hook(hook, L + 1, x, e) ? -1 : 0;
}

/* ---- logits ---------------------------------------------------------------------------------- */

size_t lm_logits_block_tokens(const struct arch *a)
{
    size_t n = LOGITS_FLOATS / a->vocab;
    return n < 16 ? 16 : n > 1024 ? 1024 : n;
}

/* Rows of the LM head from `first` on that are held at once: *n of them. */
static const float *load_lm_head_rows(struct lm *m, size_t first, size_t *n, struct error *e)
{
    size_t left = m->arch->vocab - first;
    *n = left < m->head_rows ? left : m->head_rows;
    return load_weight_rows(m, WEIGHT_LM_HEAD, first, *n, m->head, e);
}

int lm_logits(struct lm *m, const float *h, size_t n, float *z, struct error *e)
{
    size_t d = m->arch->hidden, V = m->arch->vocab;
    for (size_t first = 0, rows; first < V; first += rows) {
        const float *W = load_lm_head_rows(m, first, &rows, e);
        if (!W)
            return -1;
        gemm_nt(n, rows, d, 1, h, d, W, d, 0, z + first, V);
    }
    return 0;
}

/* z = h W^T: dh = dz W, dW = dz^T h */
int lm_logits_backward(struct lm *m, const float *dz, const float *h, size_t n, float *dh,
                       const struct gradient_sink *sink, struct error *e)
{
    size_t d = m->arch->hidden, V = m->arch->vocab;
    const struct gradient_emitter emitter = {m->arch, sink, 0, n};
    for (size_t first = 0, rows; first < V; first += rows) {
        const float *W = load_lm_head_rows(m, first, &rows, e);
        if (!W)
            return -1;
        gemm_nn(n, d, rows, 1, dz + first, V, W, d, first ? 1 : 0, dh, d);
    }
    gradient_emitter_send(&emitter, WEIGHT_LM_HEAD, dz, h);
    return 0;
}

/* ---- backward -------------------------------------------------------------------------------- */

/* rmsnorm_forward(x_L, norm, x_{L+1}, r): dx, the gradient of x_{L+1}, becomes that of x_L. */
int lm_backward_final_norm(struct lm *m, const struct token_batch *b, const float *x, float *dx,
                           const struct gradient_sink *sink, struct error *e)
{
    size_t N = token_batch_tokens(b), d = m->arch->hidden;
    const struct gradient_emitter emitter = {m->arch, sink, 0, N};
    const float *g = load_weight_rows(m, WEIGHT_FINAL_NORM, 0, d, m->norm, e);
    if (!g)
        return -1;
    float *dy = mem_alloc_aligned(N * d * sizeof *dy), *r = mem_alloc(N, sizeof *r);
    rmsnorm_forward(x, g, m->arch->eps, N, d, dy, r); /* for r */
    memcpy(dy, dx, N * d * sizeof *dy);
    memset(dx, 0, N * d * sizeof *dx);
    rmsnorm_backward(dy, x, g, r, N, d, dx);
    if (gradient_emitter_wants(&emitter, WEIGHT_FINAL_NORM)) {
        rmsnorm_backward_gain(dy, x, r, N, d, dy);
        gradient_emitter_send(&emitter, WEIGHT_FINAL_NORM, dy, NULL);
    }
    free(dy);
    free(r);
    return 0;
}

/* x_{l+1} = layer(x_l): dx, the gradient of x_{l+1}, becomes that of x_l. */
int lm_backward_layer(struct lm *m, size_t layer, const struct token_batch *b, const float *x,
                      float *dx, bool needs_dx, const struct gradient_sink *sink, struct error *e)
{
    struct layer_weights w;
    if (load_decoder_layer(m, layer, &w, e))
        return -1;
    for (size_t s = 0; s < b->samples;) {
        struct token_batch slice = token_batch_slice(b, m->arch, s, m->room);
        size_t first = b->starts[s] - b->starts[0], at = first * m->arch->hidden;
        const struct decoder_layer l = {m->arch, layer, &w, &slice, m->workspace};
        point_workspace_to_saved_activations(m, layer, token_batch_tokens(b), first);
        if (layer_activations_are_saved(m, layer))
            decoder_layer_recompute(&l, x + at);
        else
            decoder_layer_forward(&l, x + at, NULL);
        decoder_layer_backward(&l, x + at, dx + at, needs_dx, sink);
        s += slice.samples;
    }
    return 0;
}

/* x_t = embedding[token_t]: dx (N, d) is the gradient of the rows. */
static void embedding_backward(const struct lm *m, const struct token_batch *b, const float *dx,
                               const struct gradient_sink *sink)
{
    struct weight_gradient g = {.kind = WEIGHT_EMBEDDING,
                                .tokens = token_batch_tokens(b),
                                .rows = m->arch->vocab,
                                .columns = m->arch->hidden,
                                .dy = dx,
                                .token_ids = b->ids};
    sink->add(sink->context, &g);
}

/* The lowest layer with a weight whose gradient is wanted; L if there is none. */
static size_t find_lowest_layer_wanting_gradient(const struct arch *a,
                                                 const struct gradient_sink *sink)
{
    for (size_t l = 0; l < a->layers; l++) {
        const struct gradient_emitter emitter = {a, sink, l, 0};
        for (enum weight_kind kind = 0; kind < WEIGHT_DECODER_LAYER_END; kind++)
            if (gradient_emitter_wants(&emitter, kind))
                return l;
    }
    return a->layers;
}

int lm_backward(struct lm *m, const struct token_batch *b, const struct backward_hooks *hooks,
                float *dx, const struct gradient_sink *sink, struct error *e)
{
    const struct arch *a = m->arch;
    bool embedding = sink->wants(sink->context, WEIGHT_EMBEDDING, 0);
    bool images = image_token_embeddings_need_gradient(a, b, sink);
    size_t lowest = embedding || images ? 0 : find_lowest_layer_wanting_gradient(a, sink);
    const float *x = hooks->load_state(hooks->context, a->layers, e);
    if (!x || lm_backward_final_norm(m, b, x, dx, sink, e))
        return -1;
    for (size_t l = a->layers; l-- > lowest;) {
        bool needs_dx = l > lowest || embedding || images;
        x = hooks->load_state(hooks->context, l, e);
        if (!x || lm_backward_layer(m, l, b, x, dx, needs_dx, sink, e))
            return -1;
        if (hooks->add_state_gradient && needs_dx)
            hooks->add_state_gradient(hooks->context, l, dx);
    }
    if (embedding)
        embedding_backward(m, b, dx, sink);
    return images
               ? image_token_embeddings_backward(a, m->weights, m->image_features, b, dx, sink, e)
               : 0;
}
