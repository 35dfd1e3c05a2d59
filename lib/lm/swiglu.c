#include "swiglu.h"

#include "explog.h"
#include "parallel_for.h"

struct swiglu {
    const float *g, *u, *dz;
    float *z, *dg, *du;
};

/* z = g sigmoid(g) u */
TV_CLONES static void swiglu_forward_row(const float *g, const float *u, size_t n, float *z)
{
    for (size_t i = 0; i < n; i++)
        z[i] = g[i] * explog_sigmoid_float(g[i]) * u[i];
}

static void swiglu_forward_tile(void *context, size_t first, size_t n)
{
    const struct swiglu *s = context;
    swiglu_forward_row(s->g + first, s->u + first, n, s->z + first);
}

void swiglu_forward(const float *g, const float *u, size_t n, float *z)
{
    parallel_for_tiles(n, swiglu_forward_tile, &(struct swiglu){.g = g, .u = u, .z = z});
}

/* z = g s u with s = sigmoid(g): du = dz g s; dg = dz u (s + g s (1 - s)) */
TV_CLONES static void swiglu_backward_row(const float *dz, float *g, float *u, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float s = explog_sigmoid_float(g[i]), silu = g[i] * s;
        float dg = dz[i] * u[i] * (s + silu * (1 - s));
        u[i] = dz[i] * silu;
        g[i] = dg;
    }
}

static void swiglu_backward_tile(void *context, size_t first, size_t n)
{
    const struct swiglu *s = context;
    swiglu_backward_row(s->dz + first, s->dg + first, s->du + first, n);
}

void swiglu_backward(const float *dz, float *g, float *u, size_t n)
{
    parallel_for_tiles(n, swiglu_backward_tile, &(struct swiglu){.dz = dz, .dg = g, .du = u});
}
