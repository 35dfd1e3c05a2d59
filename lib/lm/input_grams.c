#include "input_grams.h"

#include "gemm.h"
#include "mem.h"
#include "spool.h"

#include <stdlib.h>
#include <string.h>

#define GROUP 8192 /* tokens that pass a layer together */
#define PANEL 256  /* columns of a Gram matrix that are computed together */

struct input_grams {
    const struct arch *arch;
    struct lm *lm;
    const struct token_batch *batch;
    struct spool *states; /* x_next (N, d) */
    size_t next;          /* the next layer that the states pass; SIZE_MAX: no states yet */
    float *matrices[WEIGHT_KINDS]; /* (n, n) of a representative; NULL: not in this layer */
};

enum weight_kind input_grams_representative(enum weight_kind kind)
{
    switch (kind) {
    case WEIGHT_Q:
    case WEIGHT_K:
    case WEIGHT_V:
        return WEIGHT_Q;
    case WEIGHT_GATE:
    case WEIGHT_UP:
        return WEIGHT_GATE;
    case WEIGHT_O:
    case WEIGHT_DOWN:
    case WEIGHT_LM_HEAD:
        return kind;
    default:
        return WEIGHT_KINDS;
    }
}

struct input_grams *input_grams_new(const struct arch *a, struct lm *lm,
                                    const struct token_batch *b, size_t memory, const char *spool)
{
    struct input_grams *g = mem_alloc(1, sizeof *g);
    *g = (struct input_grams){a, lm, b, spool_new(memory, spool), SIZE_MAX, {0}};
    return g;
}

static void discard_matrices(struct input_grams *g)
{
    for (size_t kind = 0; kind < WEIGHT_KINDS; kind++) {
        free(g->matrices[kind]);
        g->matrices[kind] = NULL;
    }
}

void input_grams_free(struct input_grams *g)
{
    if (!g)
        return;
    discard_matrices(g);
    spool_free(g->states);
    free(g);
}

const float *input_grams_matrix(const struct input_grams *g, enum weight_kind kind)
{
    return g->matrices[input_grams_representative(kind)];
}

/* ---- one matrix ------------------------------------------------------------------------------ */

static size_t matrix_size(const struct input_grams *g, enum weight_kind kind)
{
    size_t rows, columns;
    weight_kind_find_shape(g->arch, kind, &rows, &columns);
    return columns;
}

/* Adds x^T x to the diagonal and what is above it;  x (tokens, n) */
static void add_outer_products(struct input_grams *g, enum weight_kind kind, const float *x,
                               size_t tokens)
{
    size_t n = matrix_size(g, kind);
    float *G = g->matrices[kind];
    if (!G)
        G = g->matrices[kind] = mem_alloc(n * n, sizeof *G);
    for (size_t first = 0; first < n; first += PANEL) {
        size_t width = n - first < PANEL ? n - first : PANEL;
        gemm_tn(first + width, width, tokens, 1, x, n, x + first, n, 1, G + first, n);
    }
}

/* Divides by the number of tokens, and copies what is above the diagonal below it. */
static void finish_matrix(struct input_grams *g, enum weight_kind kind)
{
    size_t n = matrix_size(g, kind);
    float tokens = (float)token_batch_tokens(g->batch), *G = g->matrices[kind];
    for (size_t i = 0; G && i < n; i++)
        for (size_t j = i; j < n; j++)
            G[j * n + i] = G[i * n + j] = G[i * n + j] / tokens;
}

/* ---- all tokens through a layer -------------------------------------------------------------- */

/* What is computed of one layer. */
struct pass {
    struct input_grams *grams;
    size_t layer; /* L: the final norm; SIZE_MAX: the embeddings */
    bool wanted;  /* are its matrices? */
};

static void add_layer_inputs(void *context, const struct decoder_layer *l)
{
    struct input_grams *g = context;
    const struct layer_workspace *w = l->workspace;
    size_t N = token_batch_tokens(l->batch);
    add_outer_products(g, WEIGHT_Q, w->x_norm, N);
    add_outer_products(g, WEIGHT_O, w->saved.o, N);
    add_outer_products(g, WEIGHT_GATE, w->h_norm, N);
    add_outer_products(g, WEIGHT_DOWN, w->z, N);
}

static int run_group(const struct pass *p, const struct token_batch *b, float *x, struct error *e)
{
    struct input_grams *g = p->grams;
    const struct layer_hook hook = {g, add_layer_inputs};
    size_t N = token_batch_tokens(b);
    if (p->layer == SIZE_MAX)
        return lm_forward_embedding(g->lm, b, x, e);
    if (p->layer < g->arch->layers)
        return lm_forward_layer(g->lm, p->layer, b, x, p->wanted ? &hook : NULL, e);
    if (lm_forward_final_norm(g->lm, N, x, e))
        return -1;
    add_outer_products(g, WEIGHT_LM_HEAD, x, N);
    return 0;
}

static int run_all_groups(const struct pass *p, float *x, struct error *e)
{
    struct input_grams *g = p->grams;
    const struct token_batch *b = g->batch;
    for (size_t s = 0; s < b->samples;) {
        struct token_batch group = token_batch_slice(b, g->arch, s, GROUP);
        size_t row = g->arch->hidden * sizeof *x, size = token_batch_tokens(&group) * row;
        uint64_t at = (uint64_t)(b->starts[s] - b->starts[0]) * row;
        if ((p->layer != SIZE_MAX && spool_read_at(g->states, at, x, size, e)) ||
            run_group(p, &group, x, e) || spool_write_at(g->states, at, x, size, e))
            return -1;
        s += group.samples;
    }
    return 0;
}

static int run_pass(const struct pass *p, struct error *e)
{
    struct input_grams *g = p->grams;
    size_t longest = token_batch_longest(g->batch), N = token_batch_tokens(g->batch);
    size_t room = longest > GROUP ? longest : GROUP < N ? GROUP : N;
    float *x = mem_alloc_aligned(room * g->arch->hidden * sizeof *x);
    int failed = run_all_groups(p, x, e);
    free(x);
    return failed;
}

static int start_with_embeddings(struct input_grams *g, struct error *e)
{
    uint64_t size = (uint64_t)token_batch_tokens(g->batch) * g->arch->hidden * sizeof(float);
    if (spool_reserve(g->states, size, e) || run_pass(&(struct pass){g, SIZE_MAX, false}, e))
        return -1;
    g->next = 0;
    return 0;
}

int input_grams_compute_layer(struct input_grams *g, size_t layer, struct error *e)
{
    if (g->next == layer + 1)
        return 0;
    discard_matrices(g);
    if (g->next > layer && start_with_embeddings(g, e))
        return -1;
    for (; g->next <= layer; g->next++)
        if (run_pass(&(struct pass){g, g->next, g->next == layer}, e))
            return -1;
    for (enum weight_kind kind = 0; kind < WEIGHT_KINDS; kind++)
        finish_matrix(g, kind);
    return 0;
}
