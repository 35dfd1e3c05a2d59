#include "projector.h"

#include "ops.h"
#include "vision_ops.h"

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

size_t projector_scratch(const struct arch *a, size_t n)
{
    return n * (2 * sizes_of(a, n).P + 3 * a->vision.projector);
}

/* u = In layernorm(x) + b; `normed` receives layernorm(x). */
static void first_half(const struct arch *a, const struct layer_weights *w, const float *x,
                       size_t n, float *normed, float *u)
{
    const struct sizes s = sizes_of(a, n);
    layernorm_forward(x, w->at[PROJECTOR_NORM], w->at[PROJECTOR_NORM_BIAS], a->vision.projector_eps,
                      s.rows, s.width, normed);
    linear_forward(normed, w->at[PROJECTOR_IN], w->at[PROJECTOR_IN_BIAS], n, s.P,
                   a->vision.projector, u);
}

void projector_forward(const struct arch *a, const struct layer_weights *w, const float *x,
                       size_t n, float *y, float *scratch)
{
    float *normed = scratch, *u = normed + n * sizes_of(a, n).P;
    first_half(a, w, x, n, normed, u);
    gelu_forward(u, n, a->vision.projector, u);
    linear_forward(u, w->at[PROJECTOR_OUT], w->at[PROJECTOR_OUT_BIAS], n, a->vision.projector,
                   a->hidden, y);
}

/* What the norm's own gradients take: dn, the gradient by the normed x. */
static void backward_norm(const struct gradient_giver *to, const struct layer_weights *w,
                          const float *du, const float *x, float *dn)
{
    const struct arch *a = to->arch;
    size_t n = to->tokens;
    const struct sizes s = sizes_of(a, n);
    const struct gradient_giver rows = {a, to->taker, 0, s.rows};
    if (!gradient_wanted(to, PROJECTOR_NORM) && !gradient_wanted(to, PROJECTOR_NORM_BIAS))
        return;
    /* linear_forward(normed, W[IN], b[IN], u) */
    linear_backward(du, w->at[PROJECTOR_IN], n, s.P, a->vision.projector, dn, 0);
    /* layernorm_forward(x, g, b, normed) */
    gradient_give(&rows, PROJECTOR_NORM_BIAS, dn, NULL);
    layernorm_backward_gain(dn, x, a->vision.projector_eps, s.rows, s.width, dn);
    gradient_give(&rows, PROJECTOR_NORM, dn, NULL);
}

void projector_backward(const struct arch *a, const struct layer_weights *w, const float *x,
                        size_t n, const float *dy, const struct gradient_sink *taker,
                        float *scratch)
{
    const struct gradient_giver to = {a, taker, 0, n};
    size_t P = sizes_of(a, n).P, width = a->vision.projector;
    float *normed = scratch, *dn = normed + n * P, *u = dn + n * P;
    float *z = u + n * width, *dz = z + n * width;
    first_half(a, w, x, n, normed, u);
    gelu_forward(u, n, width, z);
    /* linear_forward(z, W[OUT], b[OUT], y) */
    gradient_give_linear(&to, PROJECTOR_OUT, PROJECTOR_OUT_BIAS, dy, z);
    linear_backward(dy, w->at[PROJECTOR_OUT], n, width, a->hidden, dz, 0);
    /* gelu_forward(u, z) */
    gelu_backward(dz, n, width, u);
    gradient_give_linear(&to, PROJECTOR_IN, PROJECTOR_IN_BIAS, u, normed);
    backward_norm(&to, w, u, x, dn);
}
