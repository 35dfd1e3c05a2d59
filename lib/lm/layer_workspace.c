#include "layer_workspace.h"

#include "attention.h"
#include "mem.h"

#include <stdlib.h>

/* An array with a number of floats for each token. */
struct array {
    float **pointer;
    size_t floats_per_token;
};

/* Places arrays for N tokens one after another in `memory`, each aligned to 16 floats, and points
 * to their elements of token `first`. Returns the floats of all; with `memory` NULL that is all it
 * does. */
static size_t assign_array_pointers(const struct array *arrays, size_t n, size_t N, size_t first,
                                    float *memory)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (memory)
            *arrays[i].pointer = memory + at + first * arrays[i].floats_per_token;
        at += (arrays[i].floats_per_token * N + 15) / 16 * 16;
    }
    return at;
}

#define PLACE_ARRAYS(arrays, N, first, memory)                                                     \
    assign_array_pointers(arrays, sizeof(arrays) / sizeof *(arrays), N, first, memory)

/* ---- saved activations ----------------------------------------------------------------------- */

static size_t assign_saved_activation_pointers(const struct arch *a, size_t N, size_t first,
                                               float *memory, struct saved_activations *s)
{
    size_t q = a->heads * a->head_dim, kv = a->kv_heads * a->head_dim, f = a->intermediate;
    size_t normed = a->qk_norm; /* 0: without q and k norms their arrays are empty */
    const struct array arrays[] = {{&s->q, q},
                                   {&s->k, kv},
                                   {&s->v, kv},
                                   {&s->o, q},
                                   {&s->log_sums, a->heads},
                                   {&s->h, a->hidden},
                                   {&s->g, f},
                                   {&s->u, f},
                                   {&s->q_proj, normed * q},
                                   {&s->k_proj, normed * kv},
                                   {&s->q_r, normed * a->heads},
                                   {&s->k_r, normed * a->kv_heads}};
    return PLACE_ARRAYS(arrays, N, first, memory);
}

size_t saved_activations_floats(const struct arch *a, size_t N)
{
    struct saved_activations unused;
    return assign_saved_activation_pointers(a, N, 0, NULL, &unused);
}

struct saved_activations saved_activations_at(const struct arch *a, float *memory, size_t N,
                                              size_t first)
{
    struct saved_activations s;
    assign_saved_activation_pointers(a, N, first, memory, &s);
    return s;
}

/* ---- the workspace --------------------------------------------------------------------------- */

struct layer_workspace *layer_workspace_new(const struct arch *a, size_t tokens, size_t longest)
{
    struct layer_workspace *w = mem_alloc(1, sizeof *w);
    size_t d = a->hidden, q = a->heads * a->head_dim, kv = a->kv_heads * a->head_dim;
    const struct array arrays[] = {
        {&w->x_norm, d}, {&w->x_r, 1},   {&w->h_norm, d},          {&w->h_r, 1},
        {&w->d_o, q},    {&w->dq, q},    {&w->z, a->intermediate}, {&w->dk, kv},
        {&w->dv, kv},    {&w->d_norm, d}};
    size_t saved = saved_activations_floats(a, tokens), n = PLACE_ARRAYS(arrays, tokens, 0, NULL);
    w->memory =
        mem_alloc_aligned((saved + n + attention_scratch_floats(longest)) * sizeof *w->memory);
    w->saved = w->own = saved_activations_at(a, w->memory, tokens, 0);
    PLACE_ARRAYS(arrays, tokens, 0, w->memory + saved);
    w->attention_scratch = w->memory + saved + n;
    return w;
}

void layer_workspace_set_saved(struct layer_workspace *w, const struct saved_activations *saved)
{
    w->saved = saved ? *saved : w->own;
}

void layer_workspace_free(struct layer_workspace *w)
{
    if (!w)
        return;
    free(w->memory);
    free(w);
}
