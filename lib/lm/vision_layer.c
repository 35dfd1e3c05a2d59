#include "vision_layer.h"

#include "attention.h"
#include "gelu.h"
#include "layernorm.h"
#include "linear.h"
#include "mem.h"
#include "residual.h"
#include "rmsnorm.h"
#include "rope.h"

#include <stdlib.h>

#define ROOM                                                                                       \
    1024 /* tokens that are in a layer at once, but at least one slice in the attention            \
          */

struct vision_workspace {
    size_t room;                   /* tokens of the attention */
    float *x_norm, *q, *k, *v, *o; /* (room, E) */
    float *r, *log_sums;           /* (room), (room, heads) */
    float *hidden;                 /* (ROOM, F) */
    float *attention_scratch;
};

/* A layer with its weights and memory. */
struct vision_layer {
    const struct vision_arch *arch;
    const struct layer_weights *weights;
    struct vision_workspace *workspace;
};

/* ---- memory ---------------------------------------------------------------------------------- */

struct vision_workspace *vision_workspace_new(const struct vision_arch *v, size_t longest)
{
    struct vision_workspace *w = mem_alloc(1, sizeof *w);
    w->room = longest > ROOM ? longest : ROOM;
    float **arrays[] = {&w->x_norm, &w->q, &w->k, &w->v, &w->o};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        *arrays[i] = mem_alloc_aligned(w->room * v->hidden * sizeof(float));
    w->r = mem_alloc(w->room, sizeof *w->r);
    w->log_sums = mem_alloc(w->room * v->heads, sizeof *w->log_sums);
    w->hidden = mem_alloc_aligned(ROOM * v->intermediate * sizeof *w->hidden);
    w->attention_scratch =
        mem_alloc_aligned(attention_scratch_floats(longest) * sizeof *w->attention_scratch);
    return w;
}

void vision_workspace_free(struct vision_workspace *w)
{
    if (!w)
        return;
    free(w->x_norm);
    free(w->q);
    free(w->k);
    free(w->v);
    free(w->o);
    free(w->r);
    free(w->log_sums);
    free(w->hidden);
    free(w->attention_scratch);
    free(w);
}

/* ---- the layer ------------------------------------------------------------------------------- */

/* x_norm = norm(x), LayerNorm or RMSNorm */
static void vision_norm_forward(const struct vision_layer *l, const float *x, enum weight_kind gain,
                                enum weight_kind bias, size_t N)
{
    const struct vision_arch *v = l->arch;
    struct vision_workspace *w = l->workspace;
    const float *g = l->weights->at[gain], *b = l->weights->at[bias];
    if (v->rms_norm)
        rmsnorm_forward(x, g, v->eps, N, v->hidden, w->x_norm, w->r);
    else
        layernorm_forward(x, g, b, v->eps, N, v->hidden, w->x_norm);
}

/* x += y, scaled by LayerScale if the model has it */
static void add_to_residual_stream(const struct vision_layer *l, const float *y,
                                   enum weight_kind layerscale, size_t N, float *x)
{
    const float *g = l->weights->at[layerscale];
    size_t E = l->arch->hidden;
    if (g)
        residual_add_scaled(y, g, N, E, x);
    else
        residual_add(y, N * E, x);
}

/* q, k, v of N tokens from `start` on. */
static void vision_qkv_forward(const struct vision_layer *l, const struct vision_tokens *t,
                               size_t start, size_t N)
{
    const struct vision_arch *v = l->arch;
    const float *const *W = l->weights->at;
    struct vision_workspace *w = l->workspace;
    size_t E = v->hidden, D = E / v->heads;
    linear_forward(w->x_norm, W[WEIGHT_VISION_Q], W[WEIGHT_VISION_Q_BIAS], N, E, E, w->q);
    linear_forward(w->x_norm, W[WEIGHT_VISION_K], W[WEIGHT_VISION_K_BIAS], N, E, E, w->k);
    linear_forward(w->x_norm, W[WEIGHT_VISION_V], W[WEIGHT_VISION_V_BIAS], N, E, E, w->v);
    if (v->qk_norm) {
        rmsnorm_forward(w->q, W[WEIGHT_VISION_Q_NORM], v->qk_eps, N, E, w->q, w->r);
        rmsnorm_forward(w->k, W[WEIGHT_VISION_K_NORM], v->qk_eps, N, E, w->k, w->r);
    }
    if (v->kind == VISION_QWEN2VL) {
        const float *cos_ = t->rope_cos + start * D / 2, *sin_ = t->rope_sin + start * D / 2;
        rope_forward(w->q, cos_, sin_, N, v->heads, D);
        rope_forward(w->k, cos_, sin_, N, v->heads, D);
    }
}

/* x += [layerscale1] O attention(norm1(x)) for slices first .. first + n - 1 */
static void vision_attention_forward(const struct vision_layer *l, const struct vision_tokens *t,
                                     size_t first, size_t n)
{
    const struct vision_arch *v = l->arch;
    struct vision_workspace *w = l->workspace;
    size_t E = v->hidden, D = E / v->heads, start = t->starts[first];
    size_t N = t->starts[first + n] - start;
    float *x = t->x + start * E;
    vision_norm_forward(l, x, WEIGHT_VISION_NORM1, WEIGHT_VISION_NORM1_BIAS, N);
    vision_qkv_forward(l, t, start, N);
    const struct attention attention = {.samples = n,
                                        .starts = t->starts + first,
                                        .heads = v->heads,
                                        .kv_heads = v->heads,
                                        .head_dim = D,
                                        .bidirectional = true,
                                        .q = w->q,
                                        .k = w->k,
                                        .v = w->v};
    attention_forward(&attention, w->o, w->log_sums, w->attention_scratch);
    linear_forward(w->o, l->weights->at[WEIGHT_VISION_O], l->weights->at[WEIGHT_VISION_O_BIAS], N,
                   E, E, w->x_norm);
    add_to_residual_stream(l, w->x_norm, WEIGHT_VISION_LAYERSCALE1, N, x);
}

/* x += [layerscale2] FC2 gelu(FC1 norm2(x));  x (N, E), N <= ROOM */
static void vision_mlp_forward(const struct vision_layer *l, size_t N, float *x)
{
    const struct vision_arch *v = l->arch;
    const float *const *W = l->weights->at;
    struct vision_workspace *w = l->workspace;
    size_t E = v->hidden, F = v->intermediate;
    vision_norm_forward(l, x, WEIGHT_VISION_NORM2, WEIGHT_VISION_NORM2_BIAS, N);
    linear_forward(w->x_norm, W[WEIGHT_VISION_FC1], W[WEIGHT_VISION_FC1_BIAS], N, E, F, w->hidden);
    if (v->activation == ACTIVATION_QUICK_GELU)
        gelu_quick_forward(w->hidden, N, F);
    else
        gelu_forward(w->hidden, N, F, w->hidden);
    linear_forward(w->hidden, W[WEIGHT_VISION_FC2], W[WEIGHT_VISION_FC2_BIAS], N, F, E, w->x_norm);
    add_to_residual_stream(l, w->x_norm, WEIGHT_VISION_LAYERSCALE2, N, x);
}

void vision_layer_forward(const struct vision_arch *v, const struct layer_weights *weights,
                          const struct vision_tokens *t, struct vision_workspace *w)
{
    const struct vision_layer l = {v, weights, w};
    size_t N = t->starts[t->slices];
    for (size_t s = 0, n; s < t->slices; s += n) {
        n = 1;
        while (s + n < t->slices && t->starts[s + n + 1] - t->starts[s] <= w->room)
            n++;
        vision_attention_forward(&l, t, s, n);
    }
    for (size_t first = 0; first < N; first += ROOM)
        vision_mlp_forward(&l, N - first < ROOM ? N - first : ROOM, t->x + first * v->hidden);
}
