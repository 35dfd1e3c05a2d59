#include "decoder_layer.h"

#include "attention.h"
#include "linear.h"
#include "residual.h"
#include "rmsnorm.h"
#include "rope.h"
#include "swiglu.h"

#include <string.h>

/* The attention of the layer, over q, k and v in the workspace. */
static struct attention attention_arguments(const struct decoder_layer *l)
{
    const struct saved_activations *s = &l->workspace->saved;
    return (struct attention){.samples = l->batch->samples,
                              .starts = l->batch->starts,
                              .heads = l->arch->heads,
                              .kv_heads = l->arch->kv_heads,
                              .head_dim = l->arch->head_dim,
                              .window = l->arch->sliding_windows[l->index],
                              .q = s->q,
                              .k = s->k,
                              .v = s->v};
}

/* ---- forward --------------------------------------------------------------------------------- */

/* h = x + O attention(...) */
static void attention_sublayer_forward(const struct decoder_layer *l, const float *x)
{
    const struct arch *a = l->arch;
    const float *const *W = l->weights->at;
    struct layer_workspace *w = l->workspace;
    const struct saved_activations *s = &w->saved;
    size_t N = token_batch_tokens(l->batch), d = a->hidden;
    size_t D = a->head_dim, H = a->heads, G = a->kv_heads;
    rmsnorm_forward(x, W[WEIGHT_INPUT_NORM], a->eps, N, d, w->x_norm, w->x_r);
    float *q = a->qk_norm ? s->q_proj : s->q, *k = a->qk_norm ? s->k_proj : s->k;
    linear_forward(w->x_norm, W[WEIGHT_Q], W[WEIGHT_Q_BIAS], N, d, H * D, q);
    linear_forward(w->x_norm, W[WEIGHT_K], W[WEIGHT_K_BIAS], N, d, G * D, k);
    linear_forward(w->x_norm, W[WEIGHT_V], W[WEIGHT_V_BIAS], N, d, G * D, s->v);
    if (a->qk_norm) {
        rmsnorm_forward(q, W[WEIGHT_Q_NORM], a->eps, N * H, D, s->q, s->q_r);
        rmsnorm_forward(k, W[WEIGHT_K_NORM], a->eps, N * G, D, s->k, s->k_r);
    }
    rope_forward(s->q, l->batch->rope_cos, l->batch->rope_sin, N, H, D);
    rope_forward(s->k, l->batch->rope_cos, l->batch->rope_sin, N, G, D);
    struct attention attention = attention_arguments(l);
    attention_forward(&attention, s->o, s->log_sums, w->attention_scratch);
    linear_forward(s->o, W[WEIGHT_O], W[WEIGHT_O_BIAS], N, H * D, d, s->h);
    residual_add(x, N * d, s->h);
}

/* y = h + Down swiglu(...) */
static void mlp_sublayer_forward(const struct decoder_layer *l, float *y)
{
    const struct arch *a = l->arch;
    const float *const *W = l->weights->at;
    struct layer_workspace *w = l->workspace;
    const struct saved_activations *s = &w->saved;
    size_t N = token_batch_tokens(l->batch), d = a->hidden, f = a->intermediate;
    rmsnorm_forward(s->h, W[WEIGHT_POST_ATTENTION_NORM], a->eps, N, d, w->h_norm, w->h_r);
    linear_forward(w->h_norm, W[WEIGHT_GATE], W[WEIGHT_GATE_BIAS], N, d, f, s->g);
    linear_forward(w->h_norm, W[WEIGHT_UP], W[WEIGHT_UP_BIAS], N, d, f, s->u);
    swiglu_forward(s->g, s->u, N * f, w->z);
    if (!y)
        return;
    linear_forward(w->z, W[WEIGHT_DOWN], W[WEIGHT_DOWN_BIAS], N, f, d, y);
    residual_add(s->h, N * d, y);
}

void decoder_layer_forward(const struct decoder_layer *l, const float *x, float *y)
{
    attention_sublayer_forward(l, x);
    mlp_sublayer_forward(l, y);
}

void decoder_layer_recompute(const struct decoder_layer *l, const float *x)
{
    const struct arch *a = l->arch;
    const float *const *W = l->weights->at;
    struct layer_workspace *w = l->workspace;
    const struct saved_activations *s = &w->saved;
    size_t N = token_batch_tokens(l->batch), d = a->hidden;
    rmsnorm_forward(x, W[WEIGHT_INPUT_NORM], a->eps, N, d, w->x_norm, w->x_r);
    rmsnorm_forward(s->h, W[WEIGHT_POST_ATTENTION_NORM], a->eps, N, d, w->h_norm, w->h_r);
    swiglu_forward(s->g, s->u, N * a->intermediate, w->z);
}

/* ---- backward -------------------------------------------------------------------------------- */

/* Each step quotes the forward line that it undoes. dy, the gradient of y, becomes that of h. */
static void mlp_sublayer_backward(const struct decoder_layer *l, const struct gradient_emitter *m,
                                  float *dy)
{
    const float *const *W = l->weights->at;
    struct layer_workspace *w = l->workspace;
    const struct saved_activations *s = &w->saved;
    size_t N = m->tokens, d = l->arch->hidden, f = l->arch->intermediate;
    /* linear_forward(z, W[DOWN], b[DOWN], y) */
    gradient_emitter_send_linear(m, WEIGHT_DOWN, WEIGHT_DOWN_BIAS, dy, w->z);
    linear_backward(dy, W[WEIGHT_DOWN], N, f, d, w->z, 0);
    /* swiglu_forward(g, u, z) */
    swiglu_backward(w->z, s->g, s->u, N * f);
    /* linear_forward(h_norm, W[GATE], b[GATE], g), the same with UP and u */
    gradient_emitter_send_linear(m, WEIGHT_GATE, WEIGHT_GATE_BIAS, s->g, w->h_norm);
    gradient_emitter_send_linear(m, WEIGHT_UP, WEIGHT_UP_BIAS, s->u, w->h_norm);
    linear_backward(s->g, W[WEIGHT_GATE], N, d, f, w->d_norm, 0);
    linear_backward(s->u, W[WEIGHT_UP], N, d, f, w->d_norm, 1);
    /* rmsnorm_forward(h, W[POST_ATTENTION_NORM], h_norm, h_r); residual_add(h, y): dy is in dh */
    rmsnorm_backward(w->d_norm, s->h, W[WEIGHT_POST_ATTENTION_NORM], w->h_r, N, d, dy);
    if (gradient_emitter_wants(m, WEIGHT_POST_ATTENTION_NORM)) {
        rmsnorm_backward_gain(w->d_norm, s->h, w->h_r, N, d, w->d_norm);
        gradient_emitter_send(m, WEIGHT_POST_ATTENTION_NORM, w->d_norm, NULL);
    }
}

/* rmsnorm_forward(x, W[norm], y, r) over each of `heads` heads: dy becomes dx. `work` is like dy.
 */
static void head_norm_backward(const struct decoder_layer *l, const struct gradient_emitter *m,
                               enum weight_kind norm, size_t heads, const float *x, const float *r,
                               float *dy, float *work)
{
    size_t D = l->arch->head_dim, rows = m->tokens * heads;
    struct gradient_emitter of_heads = *m;
    of_heads.tokens = rows;
    memset(work, 0, rows * D * sizeof *work);
    rmsnorm_backward(dy, x, l->weights->at[norm], r, rows, D, work);
    if (gradient_emitter_wants(m, norm)) {
        rmsnorm_backward_gain(dy, x, r, rows, D, dy);
        gradient_emitter_send(&of_heads, norm, dy, NULL);
    }
    memcpy(dy, work, rows * D * sizeof *dy);
}

/* From dh to dq, dk, dv, the gradients of the projections before norm and RoPE. */
static void attention_sublayer_backward(const struct decoder_layer *l,
                                        const struct gradient_emitter *m, const float *dh)
{
    const struct arch *a = l->arch;
    struct layer_workspace *w = l->workspace;
    const struct saved_activations *s = &w->saved;
    const struct token_batch *b = l->batch;
    size_t N = m->tokens, D = a->head_dim, H = a->heads, G = a->kv_heads;
    /* linear_forward(o, W[O], b[O], h) */
    gradient_emitter_send_linear(m, WEIGHT_O, WEIGHT_O_BIAS, dh, s->o);
    linear_backward(dh, l->weights->at[WEIGHT_O], N, H * D, a->hidden, w->d_o, 0);
    /* attention_forward(q, k, v, o) */
    struct attention attention = attention_arguments(l);
    attention_backward(&attention, s->o, s->log_sums, w->d_o, w->dq, w->dk, w->dv,
                       w->attention_scratch);
    /* rope_forward(q), rope_forward(k) */
    rope_backward(w->dq, b->rope_cos, b->rope_sin, N, H, D);
    rope_backward(w->dk, b->rope_cos, b->rope_sin, N, G, D);
    if (a->qk_norm) {
        head_norm_backward(l, m, WEIGHT_Q_NORM, H, s->q_proj, s->q_r, w->dq, w->d_o);
        head_norm_backward(l, m, WEIGHT_K_NORM, G, s->k_proj, s->k_r, w->dk, w->d_o);
    }
    /* linear_forward(x_norm, W[Q], b[Q], q), the same with K and V */
    gradient_emitter_send_linear(m, WEIGHT_Q, WEIGHT_Q_BIAS, w->dq, w->x_norm);
    gradient_emitter_send_linear(m, WEIGHT_K, WEIGHT_K_BIAS, w->dk, w->x_norm);
    gradient_emitter_send_linear(m, WEIGHT_V, WEIGHT_V_BIAS, w->dv, w->x_norm);
}

/* From dq, dk, dv to the layer's input: dh becomes dx. */
static void attention_input_backward(const struct decoder_layer *l,
                                     const struct gradient_emitter *m, const float *x, float *dh)
{
    const struct arch *a = l->arch;
    const float *const *W = l->weights->at;
    struct layer_workspace *w = l->workspace;
    size_t N = m->tokens, d = a->hidden, D = a->head_dim, H = a->heads, G = a->kv_heads;
    /* linear_forward(x_norm, W[Q], b[Q], q), the same with K and V */
    linear_backward(w->dq, W[WEIGHT_Q], N, d, H * D, w->d_norm, 0);
    linear_backward(w->dk, W[WEIGHT_K], N, d, G * D, w->d_norm, 1);
    linear_backward(w->dv, W[WEIGHT_V], N, d, G * D, w->d_norm, 1);
    /* rmsnorm_forward(x, W[INPUT_NORM], x_norm, x_r); residual_add(x, h): dh is in dx */
    rmsnorm_backward(w->d_norm, x, W[WEIGHT_INPUT_NORM], w->x_r, N, d, dh);
    if (gradient_emitter_wants(m, WEIGHT_INPUT_NORM)) {
        rmsnorm_backward_gain(w->d_norm, x, w->x_r, N, d, w->d_norm);
        gradient_emitter_send(m, WEIGHT_INPUT_NORM, w->d_norm, NULL);
    }
}

void decoder_layer_backward(const struct decoder_layer *l, const float *x, float *dy, bool needs_dx,
                            const struct gradient_sink *sink)
{
    const struct gradient_emitter m = {l->arch, sink, l->index, token_batch_tokens(l->batch)};
    mlp_sublayer_backward(l, &m, dy);
    attention_sublayer_backward(l, &m, dy);
    if (needs_dx || gradient_emitter_wants(&m, WEIGHT_INPUT_NORM))
        attention_input_backward(l, &m, x, dy);
}
