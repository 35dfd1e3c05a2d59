#include "image_tokens.h"

#include "mem.h"
#include "projector.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 256 /* tokens that are in the projector at once */

/* Some tokens of one picture on their way through the projector. */
struct look {
    const struct arch *arch;
    const struct image_features *sights;
    struct layer_weights weights;
    const struct token_batch *pack;
    float *x;                          /* (N, d); */
    const struct gradient_sink *taker; /* NULL: forward */
    float *block, *rows, *scratch;     /* (BLOCK, P), (BLOCK, d) */
};

/* Moves the rows of the n next visual tokens from t on to `rows` or from there; returns the token
 * behind them. */
static size_t move_rows(const struct look *l, size_t t, size_t n)
{
    size_t d = l->arch->hidden;
    for (size_t i = 0; i < n; t++)
        if (l->pack->ids[t] == TOKEN_BATCH_IMAGE_TOKEN) {
            float *row = l->rows + i++ * d, *x = l->x + t * d;
            memcpy(l->taker ? row : x, l->taker ? x : row, d * sizeof *x);
        }
    return t;
}

/* A picture whose tokens begin at t or behind; `t` moves behind them. */
static int look_at(const struct look *l, size_t picture, size_t *t, struct error *e)
{
    size_t tokens = image_features_token_count(l->sights, picture);
    for (size_t first = 0; first < tokens; first += BLOCK) {
        size_t n = tokens - first < BLOCK ? tokens - first : BLOCK;
        if (image_features_read(l->sights, picture, first, n, l->block, e))
            return -1;
        if (!l->taker)
            projector_forward(l->arch, &l->weights, l->block, n, l->rows, l->scratch);
        *t = move_rows(l, *t, n);
        if (l->taker)
            projector_backward(l->arch, &l->weights, l->block, n, l->rows, l->taker, l->scratch);
    }
    return 0;
}

/* All pictures of all samples. */
static int look_around(struct look *l, const struct weight_source *w, struct error *e)
{
    const struct arch *a = l->arch;
    const struct token_batch *p = l->pack;
    size_t P = a->vision.merge * a->vision.merge * a->vision.hidden;
    if (w->load_layer(w->context, WEIGHT_RANGE_PROJECTOR, 0, &l->weights, e))
        return -1;
    l->block = mem_alloc_aligned(BLOCK * P * sizeof *l->block);
    l->rows = mem_alloc_aligned(BLOCK * a->hidden * sizeof *l->rows);
    l->scratch = mem_alloc_aligned(projector_scratch_floats(a, BLOCK) * sizeof *l->scratch);
    int failed = 0;
    for (size_t s = 0; s < p->samples; s++) {
        size_t t = p->starts[s] - p->starts[0];
        for (size_t i = 0; i < p->images[s].n && !failed; i++)
            failed = look_at(l, p->images[s].indices[i], &t, e);
    }
    free(l->block);
    free(l->rows);
    free(l->scratch);
    return failed;
}

static bool has_images(const struct token_batch *p)
{
    for (size_t s = 0; s < p->samples; s++)
        if (p->images[s].n)
            return true;
    return false;
}

int image_tokens_forward(const struct arch *a, const struct weight_source *w,
                         const struct image_features *f, const struct token_batch *p, float *x,
                         struct error *e)
{
    struct look l = {.arch = a, .sights = f, .pack = p, .x = x};
    return has_images(p) ? look_around(&l, w, e) : 0;
}

bool image_tokens_need_gradient(const struct arch *a, const struct token_batch *p,
                                const struct gradient_sink *taker)
{
    const struct gradient_emitter to = {a, taker, 0, 0};
    for (enum weight_kind part = WEIGHT_PROJECTOR_NORM;
         part < WEIGHT_PROJECTOR_END && has_images(p); part++)
        if (gradient_emitter_wants(&to, part))
            return true;
    return false;
}

int image_tokens_backward(const struct arch *a, const struct weight_source *w,
                          const struct image_features *f, const struct token_batch *p,
                          const float *dx, const struct gradient_sink *taker, struct error *e)
{
    struct look l = {.arch = a, .sights = f, .pack = p, .x = (float *)dx, .taker = taker};
    return look_around(&l, w, e);
}
