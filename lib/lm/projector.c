#include "projector.h"

#include "gelu.h"
#include "layernorm.h"
#include "linear.h"

/* n features as the rows that are normalized. */
struct norm_rows {
    size_t rows, width;
};

static struct norm_rows projector_norm_rows(const struct arch *a, size_t n)
{
    size_t patches = a->vision.merge_size * a->vision.merge_size;
    if (a->vision.kind == VISION_INTERNVL)
        return (struct norm_rows){n, arch_values_per_feature(&a->vision)};
    return (struct norm_rows){n * patches, a->vision.hidden};
}

size_t projector_scratch_floats(const struct arch *a, size_t n)
{
    return n * (2 * arch_values_per_feature(&a->vision) + 3 * a->vision.projector_hidden);
}

/* ---- forward --------------------------------------------------------------------------------- */

/* u = In layernorm(x) + b;  writes x_norm = layernorm(x) (n, P), u (n, projector_hidden) */
static void norm_and_first_linear_forward(const struct arch *a, const struct layer_weights *w,
                                          const float *x, size_t n, float *x_norm, float *u)
{
    const struct vision_arch *v = &a->vision;
    const struct norm_rows r = projector_norm_rows(a, n);
    layernorm_forward(x, w->at[WEIGHT_PROJECTOR_NORM], w->at[WEIGHT_PROJECTOR_NORM_BIAS],
                      v->projector_eps, r.rows, r.width, x_norm);
    linear_forward(x_norm, w->at[WEIGHT_PROJECTOR_IN], w->at[WEIGHT_PROJECTOR_IN_BIAS], n,
                   arch_values_per_feature(v), v->projector_hidden, u);
}

void projector_forward(const struct arch *a, const struct layer_weights *w, const float *x,
                       size_t n, float *y, float *scratch)
{
    size_t width = a->vision.projector_hidden;
    float *x_norm = scratch, *u = x_norm + n * arch_values_per_feature(&a->vision);
    norm_and_first_linear_forward(a, w, x, n, x_norm, u);
    gelu_forward(u, n, width, u);
    linear_forward(u, w->at[WEIGHT_PROJECTOR_OUT], w->at[WEIGHT_PROJECTOR_OUT_BIAS], n, width,
                   a->hidden, y);
}

/* ---- backward -------------------------------------------------------------------------------- */

/* Sends the gradients of the norm, if they are wanted. du (n, projector_hidden); d_norm (n, P) is
 * scratch. */
static void projector_norm_backward(const struct gradient_emitter *m, const struct layer_weights *w,
                                    const float *du, const float *x, float *d_norm)
{
    const struct arch *a = m->arch;
    const struct norm_rows r = projector_norm_rows(a, m->tokens);
    const struct gradient_emitter rows = {a, m->sink, 0, r.rows};
    if (!gradient_emitter_wants(m, WEIGHT_PROJECTOR_NORM) &&
        !gradient_emitter_wants(m, WEIGHT_PROJECTOR_NORM_BIAS))
        return;
    /* linear_forward(x_norm, W[IN], b[IN], u) */
    linear_backward(du, w->at[WEIGHT_PROJECTOR_IN], m->tokens, arch_values_per_feature(&a->vision),
                    a->vision.projector_hidden, d_norm, 0);
    /* layernorm_forward(x, g, b, x_norm) */
    gradient_emitter_send(&rows, WEIGHT_PROJECTOR_NORM_BIAS, d_norm, NULL);
    layernorm_backward_gain(d_norm, x, a->vision.projector_eps, r.rows, r.width, d_norm);
    gradient_emitter_send(&rows, WEIGHT_PROJECTOR_NORM, d_norm, NULL);
}

void projector_backward(const struct arch *a, const struct layer_weights *w, const float *x,
                        size_t n, const float *dy, const struct gradient_sink *sink, float *scratch)
{
    const struct gradient_emitter m = {a, sink, 0, n};
    size_t P = arch_values_per_feature(&a->vision), width = a->vision.projector_hidden;
    float *x_norm = scratch, *d_norm = x_norm + n * P, *u = d_norm + n * P;
    float *z = u + n * width, *dz = z + n * width;
    norm_and_first_linear_forward(a, w, x, n, x_norm, u);
    gelu_forward(u, n, width, z);
    /* linear_forward(z, W[OUT], b[OUT], y) */
    gradient_emitter_send_linear(&m, WEIGHT_PROJECTOR_OUT, WEIGHT_PROJECTOR_OUT_BIAS, dy, z);
    linear_backward(dy, w->at[WEIGHT_PROJECTOR_OUT], n, width, a->hidden, dz, 0);
    /* gelu_forward(u, z): u becomes du */
    gelu_backward(dz, n, width, u);
    /* linear_forward(x_norm, W[IN], b[IN], u) */
    gradient_emitter_send_linear(&m, WEIGHT_PROJECTOR_IN, WEIGHT_PROJECTOR_IN_BIAS, u, x_norm);
    projector_norm_backward(&m, w, u, x, d_norm);
}
