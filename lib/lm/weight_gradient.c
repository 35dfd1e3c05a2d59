#include "weight_gradient.h"

#include "linear.h"
#include "residual.h"

#include <string.h>

/* x_t = W[token_t]: dW[token_t] += dy_t */
static void embedding_backward_rows(const struct weight_gradient *g, size_t first, size_t n,
                                    float *dW)
{
    size_t d = g->columns;
    memset(dW, 0, n * d * sizeof *dW);
    for (size_t t = 0; t < g->tokens; t++)
        if (g->token_ids[t] >= first && g->token_ids[t] - first < n)
            residual_add(g->dy + t * d, d, dW + (g->token_ids[t] - first) * d);
}

void weight_gradient_compute_rows(const struct weight_gradient *g, size_t first, size_t n,
                                  float *to)
{
    if (g->token_ids)
        embedding_backward_rows(g, first, n, to);
    else if (g->columns)
        linear_backward_rows(g->dy, g->x, g->tokens, g->columns, g->rows, first, n, to);
    else
        linear_backward_bias(g->dy, g->tokens, g->rows, first, n, to);
}

bool gradient_emitter_wants(const struct gradient_emitter *m, enum weight_kind kind)
{
    return weight_kind_elements(m->arch, kind) && m->sink->wants(m->sink->context, kind, m->layer);
}

void gradient_emitter_send(const struct gradient_emitter *m, enum weight_kind kind, const float *dy,
                           const float *x)
{
    struct weight_gradient g = {
        .kind = kind, .layer = m->layer, .tokens = m->tokens, .dy = dy, .x = x};
    if (!gradient_emitter_wants(m, kind))
        return;
    weight_kind_find_shape(m->arch, kind, &g.rows, &g.columns);
    m->sink->add(m->sink->context, &g);
}

void gradient_emitter_send_linear(const struct gradient_emitter *m, enum weight_kind matrix,
                                  enum weight_kind bias, const float *dy, const float *x)
{
    gradient_emitter_send(m, matrix, dy, x);
    gradient_emitter_send(m, bias, dy, NULL);
}
