#include "decoder_layer.h"

#include "attention.h"
#include "mem.h"
#include "cross_entropy.h"
#include "rope.h"

#include <stdlib.h>
#include <string.h>

/* N tokens. What the way back needs from the way forward, and what it needs besides. */
struct layer_workspace {
    struct saved_activations trace, own; /* the one in use; that of a layer that is made again */
    float *normed, *r;                   /* (N, d), (N): x normed */
    float *normed2, *r2;                 /* (N, d), (N): h normed */
    float *z;                            /* (N, f) */
    float *d_o, *dq, *dk, *dv;           /* like o, q, k, v */
    float *dn;                           /* (N, d): by the normed input of either half */
    float *scratch;                      /* of attention */
    float *memory;
};

/* ---- memory ---------------------------------------------------------------------------------- */

/* An array with `each` floats of a token. */
struct area {
    float **at;
    size_t each;
};

/* Lays arrays for N tokens one after another, each aligned for vectors; they begin at token `first`
 * of them. Returns the floats in all; `memory` may be NULL for that alone. */
static size_t lay_out(const struct area *areas, size_t n, size_t N, size_t first, float *memory)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (memory)
            *areas[i].at = memory + at + first * areas[i].each;
        at += (areas[i].each * N + 15) / 16 * 16;
    }
    return at;
}

#define LAY_OUT(areas, N, first, memory)                                                           \
    lay_out(areas, sizeof(areas) / sizeof *(areas), N, first, memory)

static size_t lay_out_trace(const struct arch *a, size_t N, size_t first, float *memory,
                            struct saved_activations *t)
{
    size_t q = a->heads * a->head_dim, kv = a->kv_heads * a->head_dim, f = a->intermediate;
    const struct area areas[] = {
        {&t->q, q},         {&t->k, kv}, {&t->v, kv}, {&t->o, q}, {&t->log_sums, a->heads},
        {&t->h, a->hidden}, {&t->g, f},  {&t->u, f}};
    return LAY_OUT(areas, N, first, memory);
}

size_t saved_activations_floats(const struct arch *a, size_t N)
{
    struct saved_activations unused;
    return lay_out_trace(a, N, 0, NULL, &unused);
}

struct saved_activations saved_activations_at(const struct arch *a, float *memory, size_t N,
                                              size_t first)
{
    struct saved_activations t;
    lay_out_trace(a, N, first, memory, &t);
    return t;
}

struct layer_workspace *layer_workspace_new(const struct arch *a, size_t tokens, size_t longest)
{
    struct layer_workspace *w = mem_alloc(1, sizeof *w);
    size_t d = a->hidden, q = a->heads * a->head_dim, kv = a->kv_heads * a->head_dim;
    const struct area areas[] = {
        {&w->normed, d}, {&w->r, 1},  {&w->normed2, d},         {&w->r2, 1},
        {&w->d_o, q},    {&w->dq, q}, {&w->z, a->intermediate}, {&w->dk, kv},
        {&w->dv, kv},    {&w->dn, d}};
    size_t traced = saved_activations_floats(a, tokens), n = LAY_OUT(areas, tokens, 0, NULL);
    w->memory =
        mem_alloc_aligned((traced + n + attention_scratch_floats(longest)) * sizeof *w->memory);
    w->trace = w->own = saved_activations_at(a, w->memory, tokens, 0);
    LAY_OUT(areas, tokens, 0, w->memory + traced);
    w->scratch = w->memory + traced + n;
    return w;
}

void layer_workspace_set_saved(struct layer_workspace *w, const struct saved_activations *t)
{
    w->trace = t ? *t : w->own;
}

void layer_workspace_free(struct layer_workspace *w)
{
    if (!w)
        return;
    free(w->memory);
    free(w);
}

static struct attention attention_of(const struct arch *a, size_t layer,
                                     const struct token_batch *p, const struct layer_workspace *w)
{
    return (struct attention){.samples = p->samples,
                              .starts = p->starts,
                              .heads = a->heads,
                              .kv_heads = a->kv_heads,
                              .head_dim = a->head_dim,
                              .window = a->sliding_windows[layer],
                              .q = w->trace.q,
                              .k = w->trace.k,
                              .v = w->trace.v};
}

/* ---- forward --------------------------------------------------------------------------------- */

static void forward_attention(const struct arch *a, size_t layer, const struct layer_weights *W,
                              const struct token_batch *p, const float *x,
                              struct layer_workspace *w)
{
    size_t N = token_batch_tokens(p), d = a->hidden, D = a->head_dim, H = a->heads, G = a->kv_heads;
    rmsnorm_forward(x, W->at[WEIGHT_INPUT_NORM], a->eps, N, d, w->normed, w->r);
    linear_forward(w->normed, W->at[WEIGHT_Q], W->at[WEIGHT_Q_BIAS], N, d, H * D, w->trace.q);
    linear_forward(w->normed, W->at[WEIGHT_K], W->at[WEIGHT_K_BIAS], N, d, G * D, w->trace.k);
    linear_forward(w->normed, W->at[WEIGHT_V], W->at[WEIGHT_V_BIAS], N, d, G * D, w->trace.v);
    rope_forward(w->trace.q, p->cos_, p->sin_, N, H, D);
    rope_forward(w->trace.k, p->cos_, p->sin_, N, G, D);
    struct attention attention = attention_of(a, layer, p, w);
    attention_forward(&attention, w->trace.o, w->trace.log_sums, w->scratch);
    linear_forward(w->trace.o, W->at[WEIGHT_O], W->at[WEIGHT_O_BIAS], N, H * D, d, w->trace.h);
    residual_add(x, N * d, w->trace.h);
}

void decoder_layer_forward(const struct arch *a, size_t layer, const struct layer_weights *W,
                           const struct token_batch *p, const float *x, float *y,
                           struct layer_workspace *w)
{
    size_t N = token_batch_tokens(p), d = a->hidden, f = a->intermediate;
    forward_attention(a, layer, W, p, x, w);
    rmsnorm_forward(w->trace.h, W->at[WEIGHT_POST_ATTENTION_NORM], a->eps, N, d, w->normed2, w->r2);
    linear_forward(w->normed2, W->at[WEIGHT_GATE], W->at[WEIGHT_GATE_BIAS], N, d, f, w->trace.g);
    linear_forward(w->normed2, W->at[WEIGHT_UP], W->at[WEIGHT_UP_BIAS], N, d, f, w->trace.u);
    swiglu_forward(w->trace.g, w->trace.u, N * f, w->z);
    if (!y)
        return;
    linear_forward(w->z, W->at[WEIGHT_DOWN], W->at[WEIGHT_DOWN_BIAS], N, f, d, y);
    residual_add(w->trace.h, N * d, y);
}

void decoder_layer_recompute(const struct arch *a, const struct layer_weights *W,
                             const struct token_batch *p, const float *x, struct layer_workspace *w)
{
    size_t N = token_batch_tokens(p), d = a->hidden;
    rmsnorm_forward(x, W->at[WEIGHT_INPUT_NORM], a->eps, N, d, w->normed, w->r);
    rmsnorm_forward(w->trace.h, W->at[WEIGHT_POST_ATTENTION_NORM], a->eps, N, d, w->normed2, w->r2);
    swiglu_forward(w->trace.g, w->trace.u, N * a->intermediate, w->z);
}

/* ---- gradients of weights -------------------------------------------------------------------- */

static void embedding_rows(const struct weight_gradient *g, size_t first, size_t n, float *to)
{
    memset(to, 0, n * g->columns * sizeof *to);
    for (size_t t = 0; t < g->tokens; t++)
        if (g->token_ids[t] >= first && g->token_ids[t] - first < n)
            residual_add(g->dy + t * g->columns, g->columns,
                         to + (g->token_ids[t] - first) * g->columns);
}

void weight_gradient_compute_rows(const struct weight_gradient *g, size_t first, size_t n,
                                  float *to)
{
    if (g->token_ids)
        embedding_rows(g, first, n, to);
    else if (g->columns)
        linear_backward_rows(g->dy, g->x, g->tokens, g->columns, g->rows, first, n, to);
    else
        linear_backward_bias(g->dy, g->tokens, g->rows, first, n, to);
}

bool gradient_emitter_wants(const struct gradient_emitter *to, enum weight_kind part)
{
    return weight_kind_elements(to->arch, part) &&
           to->sink->wants(to->sink->context, part, to->layer);
}

void gradient_emitter_send(const struct gradient_emitter *to, enum weight_kind part,
                           const float *dy, const float *x)
{
    struct weight_gradient g = {
        .kind = part, .layer = to->layer, .tokens = to->tokens, .dy = dy, .x = x};
    if (!gradient_emitter_wants(to, part))
        return;
    weight_kind_shape(to->arch, part, &g.rows, &g.columns);
    to->sink->add(to->sink->context, &g);
}

void gradient_emitter_send_linear(const struct gradient_emitter *to, enum weight_kind matrix,
                                  enum weight_kind bias, const float *dy, const float *x)
{
    gradient_emitter_send(to, matrix, dy, x);
    gradient_emitter_send(to, bias, dy, NULL);
}

/* ---- backward -------------------------------------------------------------------------------- */

/* Forward lines are quoted. dy, the gradient by the layer's output, becomes that by h. */
static void backward_mlp(const struct arch *a, const struct layer_weights *W,
                         const struct gradient_emitter *to, float *dy, struct layer_workspace *w)
{
    size_t N = to->tokens, d = a->hidden, f = a->intermediate;
    /* linear_forward(z, W[DOWN], b[DOWN], y) */
    gradient_emitter_send_linear(to, WEIGHT_DOWN, WEIGHT_DOWN_BIAS, dy, w->z);
    linear_backward(dy, W->at[WEIGHT_DOWN], N, f, d, w->z, 0);
    /* swiglu_forward(g, u, z) */
    swiglu_backward(w->z, w->trace.g, w->trace.u, N * f);
    /* linear_forward(normed2, W[UP], b[UP], u), the same with GATE and g */
    gradient_emitter_send_linear(to, WEIGHT_GATE, WEIGHT_GATE_BIAS, w->trace.g, w->normed2);
    gradient_emitter_send_linear(to, WEIGHT_UP, WEIGHT_UP_BIAS, w->trace.u, w->normed2);
    linear_backward(w->trace.g, W->at[WEIGHT_GATE], N, d, f, w->dn, 0);
    linear_backward(w->trace.u, W->at[WEIGHT_UP], N, d, f, w->dn, 1);
    /* rmsnorm_forward(h, g, normed2, r2); the residual stream has brought dy already */
    rmsnorm_backward(w->dn, w->trace.h, W->at[WEIGHT_POST_ATTENTION_NORM], w->r2, N, d, dy);
    if (gradient_emitter_wants(to, WEIGHT_POST_ATTENTION_NORM)) {
        rmsnorm_backward_gain(w->dn, w->trace.h, w->r2, N, d, w->dn);
        gradient_emitter_send(to, WEIGHT_POST_ATTENTION_NORM, w->dn, NULL);
    }
}

static void backward_attention(const struct arch *a, const struct layer_weights *W,
                               const struct token_batch *p, const struct gradient_emitter *to,
                               const float *dh, struct layer_workspace *w)
{
    size_t N = to->tokens, d = a->hidden, D = a->head_dim, H = a->heads, G = a->kv_heads;
    /* linear_forward(o, W[O], b[O], h) */
    gradient_emitter_send_linear(to, WEIGHT_O, WEIGHT_O_BIAS, dh, w->trace.o);
    linear_backward(dh, W->at[WEIGHT_O], N, H * D, d, w->d_o, 0);
    /* attention_forward(q, k, v, o) */
    struct attention attention = attention_of(a, to->layer, p, w);
    attention_backward(&attention, w->trace.o, w->trace.log_sums, w->d_o, w->dq, w->dk, w->dv,
                       w->scratch);
    /* rope_forward(q), rope_forward(k) */
    rope_backward(w->dq, p->cos_, p->sin_, N, H, D);
    rope_backward(w->dk, p->cos_, p->sin_, N, G, D);
    /* linear_forward(normed, W[Q], b[Q], q), the same with K and V */
    gradient_emitter_send_linear(to, WEIGHT_Q, WEIGHT_Q_BIAS, w->dq, w->normed);
    gradient_emitter_send_linear(to, WEIGHT_K, WEIGHT_K_BIAS, w->dk, w->normed);
    gradient_emitter_send_linear(to, WEIGHT_V, WEIGHT_V_BIAS, w->dv, w->normed);
}

void decoder_layer_backward(const struct arch *a, size_t layer, const struct layer_weights *W,
                            const struct token_batch *p, const float *x, float *dy, bool dx_wanted,
                            const struct gradient_sink *taker, struct layer_workspace *w)
{
    const struct gradient_emitter to = {a, taker, layer, token_batch_tokens(p)};
    size_t N = to.tokens, d = a->hidden, D = a->head_dim, H = a->heads, G = a->kv_heads;
    backward_mlp(a, W, &to, dy, w);
    backward_attention(a, W, p, &to, dy, w);
    if (!dx_wanted && !gradient_emitter_wants(&to, WEIGHT_INPUT_NORM))
        return;
    linear_backward(w->dq, W->at[WEIGHT_Q], N, d, H * D, w->dn, 0);
    linear_backward(w->dk, W->at[WEIGHT_K], N, d, G * D, w->dn, 1);
    linear_backward(w->dv, W->at[WEIGHT_V], N, d, G * D, w->dn, 1);
    /* rmsnorm_forward(x, g, normed, r); the residual stream has brought dh already */
    rmsnorm_backward(w->dn, x, W->at[WEIGHT_INPUT_NORM], w->r, N, d, dy);
    if (gradient_emitter_wants(&to, WEIGHT_INPUT_NORM)) {
        rmsnorm_backward_gain(w->dn, x, w->r, N, d, w->dn);
        gradient_emitter_send(&to, WEIGHT_INPUT_NORM, w->dn, NULL);
    }
}
