#include "weight_statistics.h"

#include "fisher_diagonal.h"
#include "input_grams.h"
#include "mem.h"

#include <stdlib.h>
#include <string.h>

struct weight {
    enum weight_kind kind;
    size_t layer; /* L for weights outside the layers */
};

struct weight_statistics {
    enum statistic statistic;
    const struct model_weights *model;
    bool tied; /* the LM head is the embedding */
    size_t n;
    struct weight *weights; /* of the tensors */
    /* NULL until the first tensor is computed. */
    struct input_grams *grams;
    struct fisher_diagonal *fisher;
};

/* ---- the manifest ---------------------------------------------------------------------------- */

static void add_tensor(struct weight_statistics *s, enum weight_kind kind, size_t layer,
                       struct header *h)
{
    const struct arch *a = model_weights_arch(s->model);
    uint64_t shape[WEIGHT_KIND_MAX_RANK];
    if (!weight_kind_elements(a, kind))
        return;
    size_t tensor = (size_t)model_weights_tensor_index(s->model, kind, layer);
    size_t rank = weight_kind_file_shape(a, kind, shape);
    if (s->statistic == STATISTIC_GRAM)
        shape[0] = shape[1];
    struct vector v = vector_with_defaults(0, NULL, DTYPE_F32, DTYPE_NONE);
    const struct tensor t = {
        .name = model_source_tensor(model_weights_model_source(s->model), tensor)->name,
        .rank = rank,
        .shape = shape,
        .layer = -1,
        .layers = -1,
        .n_vectors = 1,
        .vectors = &v,
        .input_index = s->n};
    h->tensors[s->n] = tensor_copy(&h->arena, &t);
    s->weights[s->n++] = (struct weight){kind, layer};
}

/* Layers upwards, LM head. */
static void list_linear_maps(struct weight_statistics *s, struct header *h)
{
    size_t L = model_weights_arch(s->model)->layers;
    for (size_t l = 0; l < L; l++)
        for (enum weight_kind kind = 0; kind < WEIGHT_DECODER_LAYER_END; kind++)
            if (input_grams_representative(kind) != WEIGHT_KINDS)
                add_tensor(s, kind, l, h);
    if (!s->tied)
        add_tensor(s, WEIGHT_LM_HEAD, L, h);
}

/* LM head, final norm, layers downwards, embedding. */
static void list_all_weights(struct weight_statistics *s, struct header *h)
{
    size_t L = model_weights_arch(s->model)->layers;
    if (!s->tied)
        add_tensor(s, WEIGHT_LM_HEAD, L, h);
    add_tensor(s, WEIGHT_FINAL_NORM, L, h);
    for (size_t l = L; l-- > 0;)
        for (enum weight_kind kind = 0; kind < WEIGHT_DECODER_LAYER_END; kind++)
            add_tensor(s, kind, l, h);
    add_tensor(s, WEIGHT_EMBEDDING, L, h);
}

struct weight_statistics *weight_statistics_new(enum statistic statistic,
                                                const struct model_weights *m, struct header *h)
{
    struct weight_statistics *s = mem_alloc(1, sizeof *s);
    size_t most = model_weights_arch(m)->layers * WEIGHT_DECODER_LAYER_END + 3;
    s->statistic = statistic;
    s->model = m;
    s->tied = model_weights_tensor_index(m, WEIGHT_LM_HEAD, 0) ==
              model_weights_tensor_index(m, WEIGHT_EMBEDDING, 0);
    s->weights = mem_alloc(most, sizeof *s->weights);
    h->tensors = arena_alloc(&h->arena, most, sizeof *h->tensors);
    if (statistic == STATISTIC_GRAM)
        list_linear_maps(s, h);
    else
        list_all_weights(s, h);
    h->n_tensors = s->n;
    return s;
}

void weight_statistics_free(struct weight_statistics *s)
{
    if (!s)
        return;
    input_grams_free(s->grams);
    fisher_diagonal_free(s->fisher);
    free(s->weights);
    free(s);
}

/* ---- the payload ----------------------------------------------------------------------------- */

static int compute_gram(struct weight_statistics *s, const struct weight *w,
                        const struct statistics_run *r, struct error *e)
{
    if (!s->grams)
        s->grams =
            input_grams_new(model_weights_arch(s->model), r->lm, r->batch, r->memory, r->spool);
    return input_grams_compute_layer(s->grams, w->layer, e);
}

static int compute_fisher(struct weight_statistics *s, const struct weight *w,
                          const struct statistics_run *r, struct error *e)
{
    if (!s->fisher)
        s->fisher =
            fisher_diagonal_new(model_weights_arch(s->model), model_weights_weight_source(s->model),
                                s->tied, r->lm, r->samples, r->batch, r->memory, r->spool);
    return fisher_diagonal_compute(s->fisher, w->kind, w->layer, e);
}

int weight_statistics_compute(struct weight_statistics *s, size_t i, const struct statistics_run *r,
                              struct error *e)
{
    return s->statistic == STATISTIC_GRAM ? compute_gram(s, &s->weights[i], r, e)
                                          : compute_fisher(s, &s->weights[i], r, e);
}

int weight_statistics_read(struct weight_statistics *s, size_t i, size_t first, size_t n, float *to,
                           struct error *e)
{
    enum weight_kind kind = s->weights[i].kind;
    if (s->statistic == STATISTIC_FISHER)
        return fisher_diagonal_read(s->fisher, kind, first, n, to, e);
    memcpy(to, input_grams_matrix(s->grams, kind) + first, n * sizeof *to);
    return 0;
}
