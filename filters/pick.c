/* pick: select vectors by model and tensor
 *
 *     pick math                           the vectors of one model
 *     pick '/model.layers.*'              tensors of all models, by a glob of their names
 *     pick 'math/model.layers.3.*' code   several choices: the vectors that any of them matches
 *     pick --drop '/model.norm.weight'    all others
 *
 * A tensor or a model that loses all its vectors is removed from the stream.
 */
#include "filter.h"
#include "stage_rules.h"

#include <stdlib.h>

struct options {
    bool drop;
    struct tensor_rules choices;
};

static const struct option_row rows[] = {
    {"drop", OPTION_FLAG, offsetof(struct options, drop),
     .help = "remove the selected vectors and keep the others"},
    {0}};
static const struct option_row choice_row = {
    .name = "CHOICE", .kind = OPTION_SELECTORS, .offset = offsetof(struct options, choices)};

static bool is_picked_vector(const struct stage *s, const struct tensor *t, const struct vector *v)
{
    const struct options *o = s->options;
    return (stage_rules_vector_value(s, &o->choices, t, v, 0) != 0) != o->drop;
}

/* Removes the vectors that are not picked; returns how many are left. */
static size_t remove_unpicked_vectors(const struct stage *s, struct tensor *t)
{
    size_t n = 0;
    for (size_t k = 0; k < t->n_vectors; k++)
        if (is_picked_vector(s, t, &t->vectors[k]))
            t->vectors[n++] = t->vectors[k];
    return t->n_vectors = n;
}

/* has_vectors[m] = true for each model m that has a vector. */
static void mark_models_with_vectors(const struct header *h, bool *has_vectors)
{
    for (size_t i = 0; i < h->n_tensors; i++)
        for (size_t k = 0; k < h->tensors[i].n_vectors; k++)
            has_vectors[h->tensors[i].vectors[k].model] = true;
}

/* Removes the models that have lost all their vectors. */
static void remove_models_without_vectors(const struct header *before, struct header *h)
{
    bool *had = mem_alloc(h->n_models, sizeof *had), *has = mem_alloc(h->n_models, sizeof *has);
    size_t *new_index = mem_alloc(h->n_models, sizeof *new_index), n = 0;
    mark_models_with_vectors(before, had);
    mark_models_with_vectors(h, has);
    for (size_t m = 0; m < h->n_models; m++) {
        new_index[m] = n;
        if (has[m] || !had[m])
            h->models[n++] = h->models[m];
    }
    h->n_models = n;
    header_index_models(h);
    for (size_t i = 0; i < h->n_tensors; i++)
        for (size_t k = 0; k < h->tensors[i].n_vectors; k++)
            h->tensors[i].vectors[k].model = new_index[h->tensors[i].vectors[k].model];
    free(had);
    free(has);
    free(new_index);
}

static int open_pick(struct stage *s, struct header *h, struct error *e)
{
    bool *keep = mem_alloc(h->n_tensors, sizeof *keep);
    for (size_t i = 0; i < h->n_tensors; i++)
        keep[i] = remove_unpicked_vectors(s, &h->tensors[i]) > 0;
    header_keep_tensors(h, keep);
    free(keep);
    remove_models_without_vectors(s->in, h);
    return h->n_tensors ? 0 : error_set(e, "no vector is selected, so the output would be empty");
}

static int begin_tensor(struct job *job, struct error *e)
{
    size_t n = 0, *picked = arena_alloc(job->arena, job->in->n_vectors, sizeof *picked);
    for (size_t k = 0; k < job->in->n_vectors; k++)
        if (is_picked_vector(job->stage, job->in, &job->in->vectors[k]))
            picked[n++] = k;
    job->state = picked;
    return PLAN_TRANSFORM;
}

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    block_keep_vectors(b, job->out->n_vectors, job->state);
    return 0;
}

const struct filter filter_pick = {
    .name = "pick",
    .summary = "Select vectors by model and tensor",
    .step = STEP_STREAMS,
    .operands = "CHOICE...",
    .notes = "CHOICE is MODEL, MODEL/GLOB or /GLOB (any model); GLOB matches tensor names.\n\n"
             "  tv-extract base math code | pick 'math/*mlp*' | stats",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = SIZE_MAX,
    .operand_row = &choice_row,
    .kinds = KIND_TASK_VECTORS | KIND_WEIGHTS | KIND_ACTIVATIONS,
    .role = ROLE_FILTER,
    .raw_payload = true,
    .accepts_nonfinite = true,
    .open = open_pick,
    .begin_tensor = begin_tensor,
    .transform_block = transform_block,
};
