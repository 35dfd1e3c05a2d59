#include "teacher_models.h"

#include <stdlib.h>

struct teacher_models {
    const struct base_and_experts *experts;
    struct merged_model **merged; /* [expert]: NULL: it has a checkpoint */
    double *unit;                 /* (experts, experts): row k merges expert k's task vector only */
};

enum weight_kind teacher_models_end_of_own_kinds(bool own_vision)
{
    return own_vision ? WEIGHT_KINDS : WEIGHT_PROJECTOR_END;
}

/* base + tau_k, of all weights that have a task vector. */
static struct merged_model *make_base_plus_task_vector_model(const struct teacher_models *t,
                                                             size_t k, struct task_vectors *tv,
                                                             bool own_vision, enum dtype rounding)
{
    const struct model_weights *base = t->experts->base;
    const struct task_vector_source source = task_vectors_source(tv);
    struct merged_model *m = merged_model_new(base, &source, t->experts->n, rounding);
    for (enum weight_kind kind = 0; kind < teacher_models_end_of_own_kinds(own_vision); kind++)
        for (size_t l = 0; l < weight_kind_layers(model_weights_arch(base), kind); l++)
            if (task_vectors_find_stream_tensor(tv, kind, l) >= 0)
                merged_model_set_coefficients(m, kind, l, 1, t->unit + k * t->experts->n, NULL);
    return m;
}

struct teacher_models *teacher_models_new(const struct base_and_experts *x, struct task_vectors *tv,
                                          bool own_vision, enum dtype rounding)
{
    struct teacher_models *t = mem_alloc(1, sizeof *t);
    t->experts = x;
    t->merged = mem_alloc(x->n, sizeof *t->merged);
    t->unit = mem_alloc(x->n * x->n, sizeof *t->unit);
    for (size_t k = 0; k < x->n; k++) {
        t->unit[k * x->n + k] = 1;
        if (!x->files[k])
            t->merged[k] = make_base_plus_task_vector_model(t, k, tv, own_vision, rounding);
    }
    return t;
}

void teacher_models_free(struct teacher_models *t)
{
    if (!t)
        return;
    for (size_t k = 0; k < t->experts->n; k++)
        merged_model_free(t->merged[k]);
    free(t->merged);
    free(t->unit);
    free(t);
}

const struct arch *teacher_models_arch(const struct teacher_models *t, size_t expert)
{
    const struct model_weights *file = t->experts->files[expert];
    return model_weights_arch(file ? file : t->experts->base);
}

const struct weight_source *teacher_models_weight_source(const struct teacher_models *t,
                                                         size_t expert)
{
    const struct model_weights *file = t->experts->files[expert];
    return file ? model_weights_weight_source(file) : merged_model_weight_source(t->merged[expert]);
}

void teacher_models_release_layer(struct teacher_models *t, size_t expert)
{
    if (t->merged[expert])
        merged_model_release_layer(t->merged[expert]);
    else
        model_weights_release_layer(t->experts->files[expert]);
}
