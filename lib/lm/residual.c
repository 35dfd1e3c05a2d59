#include "residual.h"

#include "parallel_for.h"
#include "simd.h"
#include "vector_math.h"

struct addition {
    const float *x, *g;
    size_t d;
    float *y;
};

static void residual_add_tile(void *context, size_t first, size_t n)
{
    const struct addition *a = context;
    vector_math_add(a->y + first, a->x + first, a->y + first, n);
}

void residual_add(const float *x, size_t n, float *y)
{
    parallel_for_tiles(n, residual_add_tile, &(struct addition){.x = x, .y = y});
}

/* ---- LayerScale ------------------------------------------------------------------------------ */

TV_CLONES static void residual_add_scaled_row(const float *x, const float *g, size_t d, float *y)
{
    for (size_t i = 0; i < d; i++)
        y[i] += g[i] * x[i];
}

static void residual_add_scaled_token(void *context, size_t t, size_t thread)
{
    const struct addition *a = context;
    residual_add_scaled_row(a->x + t * a->d, a->g, a->d, a->y + t * a->d);
}

void residual_add_scaled(const float *x, const float *g, size_t T, size_t d, float *y)
{
    parallel_for(T, d, residual_add_scaled_token,
                 &(struct addition){.x = x, .g = g, .d = d, .y = y});
}
