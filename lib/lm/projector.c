#include "projector.h"

#include "cross_entropy.h"
#include "layernorm.h"

/* P of n tokens, and into how many rows of what width the norm takes them. */
struct sizes {
    size_t P, rows, width;
};

static struct sizes sizes_of(const struct arch *a, size_t n)
{
    size_t patches = a->vision.merge * a->vision.merge, P = patches * a->vision.hidden;
    if (a->vision.kind == VISION_INTERNVL)
        return (struct sizes){P, n, P};
    return (struct sizes){P, n * patches, a->vision.hidden};
}

size_t projector_scratch_floats(const struct arch *a, size_t n)
{
    return n * (2 * sizes_of(a, n).P + 3 * a->vision.projector_hidden);
}

/* u = In layernorm(x) + b; `normed` receives layernorm(x). */
static void first_half(const struct arch *a, const struct layer_weights *w, const float *x,
                       size_t n, float *normed, float *u)
{
    const struct sizes s = sizes_of(a, n);
    layernorm_forward(x, w->at[WEIGHT_PROJECTOR_NORM], w->at[WEIGHT_PROJECTOR_NORM_BIAS],
                      a->vision.projector_eps, s.rows, s.width, normed);
    linear_forward(normed, w->at[WEIGHT_PROJECTOR_IN], w->at[WEIGHT_PROJECTOR_IN_BIAS], n, s.P,
                   a->vision.projector_hidden, u);
}

void projector_forward(const struct arch *a, const struct layer_weights *w, const float *x,
                       size_t n, float *y, float *scratch)
{
    float *normed = scratch, *u = normed + n * sizes_of(a, n).P;
    first_half(a, w, x, n, normed, u);
    gelu_forward(u, n, a->vision.projector_hidden, u);
    linear_forward(u, w->at[WEIGHT_PROJECTOR_OUT], w->at[WEIGHT_PROJECTOR_OUT_BIAS], n,
                   a->vision.projector_hidden, a->hidden, y);
}

/* What the norm's own gradients take: dn, the gradient by the normed x. */
static void backward_norm(const struct gradient_emitter *to, const struct layer_weights *w,
                          const float *du, const float *x, float *dn)
{
    const struct arch *a = to->arch;
    size_t n = to->tokens;
    const struct sizes s = sizes_of(a, n);
    const struct gradient_emitter rows = {a, to->sink, 0, s.rows};
    if (!gradient_emitter_wants(to, WEIGHT_PROJECTOR_NORM) &&
        !gradient_emitter_wants(to, WEIGHT_PROJECTOR_NORM_BIAS))
        return;
    /* linear_forward(normed, W[IN], b[IN], u) */
    linear_backward(du, w->at[WEIGHT_PROJECTOR_IN], n, s.P, a->vision.projector_hidden, dn, 0);
    /* layernorm_forward(x, g, b, normed) */
    gradient_emitter_send(&rows, WEIGHT_PROJECTOR_NORM_BIAS, dn, NULL);
    layernorm_backward_gain(dn, x, a->vision.projector_eps, s.rows, s.width, dn);
    gradient_emitter_send(&rows, WEIGHT_PROJECTOR_NORM, dn, NULL);
}

void projector_backward(const struct arch *a, const struct layer_weights *w, const float *x,
                        size_t n, const float *dy, const struct gradient_sink *taker,
                        float *scratch)
{
    const struct gradient_emitter to = {a, taker, 0, n};
    size_t P = sizes_of(a, n).P, width = a->vision.projector_hidden;
    float *normed = scratch, *dn = normed + n * P, *u = dn + n * P;
    float *z = u + n * width, *dz = z + n * width;
    first_half(a, w, x, n, normed, u);
    gelu_forward(u, n, width, z);
    /* linear_forward(z, W[OUT], b[OUT], y) */
    gradient_emitter_send_linear(&to, WEIGHT_PROJECTOR_OUT, WEIGHT_PROJECTOR_OUT_BIAS, dy, z);
    linear_backward(dy, w->at[WEIGHT_PROJECTOR_OUT], n, width, a->hidden, dz, 0);
    /* gelu_forward(u, z) */
    gelu_backward(dz, n, width, u);
    gradient_emitter_send_linear(&to, WEIGHT_PROJECTOR_IN, WEIGHT_PROJECTOR_IN_BIAS, u, normed);
    backward_norm(&to, w, u, x, dn);
}
