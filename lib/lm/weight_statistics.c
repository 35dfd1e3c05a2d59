#include "weight_statistics.h"

#include "input_grams.h"
#include "mem.h"

#include <stdlib.h>

struct weight {
    enum weight_kind kind;
    size_t layer; /* L for the LM head */
};

struct weight_statistics {
    const struct model_weights *model;
    size_t n, capacity;
    struct weight *weights;    /* of the tensors */
    struct input_grams *grams; /* NULL until the first tensor is computed */
};

/* ---- the manifest ---------------------------------------------------------------------------- */

static void add_tensor(struct weight_statistics *s, struct weight w, struct header *h)
{
    size_t tensor = (size_t)model_weights_tensor_index(s->model, w.kind, w.layer);
    const char *name = model_source_tensor(model_weights_model_source(s->model), tensor)->name;
    size_t rows, columns;
    weight_kind_find_shape(model_weights_arch(s->model), w.kind, &rows, &columns);
    struct vector v = vector_with_defaults(0, NULL, DTYPE_F32, DTYPE_NONE);
    const struct tensor t = {.name = name,
                             .rank = 2,
                             .shape = (uint64_t[]){columns, columns},
                             .layer = -1,
                             .layers = -1,
                             .n_vectors = 1,
                             .vectors = &v,
                             .input_index = s->n};
    h->tensors[s->n] = tensor_copy(&h->arena, &t);
    s->weights[s->n++] = w;
}

/* Without an LM head of its own, the model's head is its embedding, which is not a linear map. */
static bool model_has_lm_head(const struct model_weights *m)
{
    return model_weights_tensor_index(m, WEIGHT_LM_HEAD, 0) !=
           model_weights_tensor_index(m, WEIGHT_EMBEDDING, 0);
}

struct weight_statistics *weight_statistics_new(const struct model_weights *m, struct header *h)
{
    struct weight_statistics *s = mem_alloc(1, sizeof *s);
    size_t L = model_weights_arch(m)->layers, most = L * WEIGHT_DECODER_LAYER_END + 1;
    s->model = m;
    s->weights = mem_alloc(most, sizeof *s->weights);
    h->tensors = arena_alloc(&h->arena, most, sizeof *h->tensors);
    for (size_t l = 0; l < L; l++)
        for (enum weight_kind kind = 0; kind < WEIGHT_DECODER_LAYER_END; kind++)
            if (input_grams_representative(kind) != WEIGHT_KINDS)
                add_tensor(s, (struct weight){kind, l}, h);
    if (model_has_lm_head(m))
        add_tensor(s, (struct weight){WEIGHT_LM_HEAD, L}, h);
    h->n_tensors = s->n;
    return s;
}

void weight_statistics_free(struct weight_statistics *s)
{
    if (!s)
        return;
    input_grams_free(s->grams);
    free(s->weights);
    free(s);
}

/* ---- the payload ----------------------------------------------------------------------------- */

int weight_statistics_compute(struct weight_statistics *s, size_t i, struct lm *lm,
                              const struct token_batch *b, size_t memory, const char *spool,
                              struct error *e)
{
    if (!s->grams)
        s->grams = input_grams_new(model_weights_arch(s->model), lm, b, memory, spool);
    return input_grams_compute_layer(s->grams, s->weights[i].layer, e);
}

const float *weight_statistics_elements(const struct weight_statistics *s, size_t i)
{
    return input_grams_matrix(s->grams, s->weights[i].kind);
}
