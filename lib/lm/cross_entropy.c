#include "cross_entropy.h"

#include "parallel_for.h"
#include "softmax.h"

#include <math.h>

/* The arguments of a loop over tokens. */
struct cross_entropy {
    float *z, *y; /* become p or dz, and q */
    const float *q;
    const uint32_t *targets;
    size_t V;
    float theta, scale;
    double *loss;
};

/* ---- target tokens --------------------------------------------------------------------------- */

/* -ln p_v = ln sum exp(z) - z_v */
static void cross_entropy_token(void *context, size_t t, size_t thread)
{
    const struct cross_entropy *c = context;
    float *z = c->z + t * c->V;
    double target = (double)z[c->targets[t]];
    c->loss[t] = softmax_row(z, c->V, 1) - target;
}

void cross_entropy_forward(float *z, const uint32_t *targets, size_t T, size_t V, double *loss)
{
    parallel_for(T, V, cross_entropy_token,
                 &(struct cross_entropy){.z = z, .targets = targets, .V = V, .loss = loss});
}

/* ---- a teacher's distribution ---------------------------------------------------------------- */

/* -sum_v q_v ln p_v = ln sum_v exp(z_v / theta) - sum_v q_v z_v / theta. Both terms are taken
 * relative to the largest z, because they can be large and nearly equal, and q sums only nearly to
 * 1. */
static double soft_cross_entropy_row(float *z, float *y, float theta, size_t V)
{
    float max = softmax_row_max(z, V), scale = 1 / theta;
    softmax_row(y, V, scale);
    double below_max = 0;
    for (size_t v = 0; v < V; v++)
        below_max += (double)y[v] * ((double)max - (double)z[v]);
    return softmax_row(z, V, scale) - (double)(scale * max) + below_max / (double)theta;
}

static void soft_cross_entropy_token(void *context, size_t t, size_t thread)
{
    const struct cross_entropy *c = context;
    c->loss[t] = soft_cross_entropy_row(c->z + t * c->V, c->y + t * c->V, c->theta, c->V);
}

void cross_entropy_soft_forward(float *z, float *y, float theta, size_t T, size_t V, double *loss)
{
    parallel_for(T, V, soft_cross_entropy_token,
                 &(struct cross_entropy){.z = z, .y = y, .theta = theta, .V = V, .loss = loss});
}

/* loss = -sum_v q_v ln p_v, p = softmax(z / theta): dz = (p - q) / theta */
static void soft_cross_entropy_backward_token(void *context, size_t t, size_t thread)
{
    const struct cross_entropy *c = context;
    for (size_t i = t * c->V; i < (t + 1) * c->V; i++)
        c->z[i] = c->scale * (c->z[i] - c->q[i]);
}

void cross_entropy_soft_backward(float *p, const float *q, size_t T, size_t V, float scale)
{
    parallel_for(T, V, soft_cross_entropy_backward_token,
                 &(struct cross_entropy){.z = p, .q = q, .V = V, .scale = scale});
}

/* ---- the model's own distribution ------------------------------------------------------------ */

/* loss = -sum_v p_v ln p_v, p = softmax(z / theta): dz = -p (ln p + loss) / theta */
static void own_cross_entropy_backward_token(void *context, size_t t, size_t thread)
{
    const struct cross_entropy *c = context;
    for (size_t i = t * c->V; i < (t + 1) * c->V; i++) {
        double p = (double)c->z[i];
        c->z[i] = p > 0 ? (float)(-(double)c->scale * p * (log(p) + c->loss[t])) : 0;
    }
}

void cross_entropy_own_backward(float *p, const double *loss, size_t T, size_t V, float scale)
{
    parallel_for(T, V, own_cross_entropy_backward_token,
                 &(struct cross_entropy){.z = p, .V = V, .scale = scale, .loss = (double *)loss});
}
