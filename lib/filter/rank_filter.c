#include "rank_filter.h"

#include "stage.h"
#include "stage_rules.h"

#include <stdlib.h>

/* ---- the manifest ---------------------------------------------------------------------------- */

static bool applies_to_tensor(const struct stage *s, const struct tensor *t)
{
    return tensor_is_float(t) && tensor_elements(t) > 0 && !stage_excludes_tensor(s, t);
}

/* Counts the elements of each model, and those before each tensor. */
static void count_elements_of_models(struct rank_filter *r, const struct stage *s,
                                     const struct header *h)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        for (size_t k = 0; applies_to_tensor(s, t) && k < t->n_vectors; k++) {
            size_t m = t->vectors[k].model;
            r->tensor_offset[i * h->n_models + m] = r->model_elements[m];
            r->model_elements[m] += tensor_elements(t);
        }
    }
}

struct rank_filter *rank_filter_new(const struct stage *s, const struct header *h)
{
    struct rank_filter *r = mem_alloc(1, sizeof *r);
    r->model_elements = arena_alloc(&r->arena, h->n_models, sizeof *r->model_elements);
    r->tensor_offset = arena_alloc(&r->arena, h->n_tensors, h->n_models * sizeof *r->tensor_offset);
    r->bands = magnitude_bands_new(&r->arena, h->n_models);
    count_elements_of_models(r, s, h);
    return r;
}

int rank_filter_find_model_values(const struct stage *s, const struct tensor_rules *r,
                                  const struct header *h, double missing, double *values,
                                  struct error *e)
{
    for (size_t m = 0; m < h->n_models; m++)
        values[m] = NAN;
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        for (size_t k = 0; applies_to_tensor(s, t) && k < t->n_vectors; k++) {
            size_t m = t->vectors[k].model;
            double value = stage_rules_vector_value(s, r, t, &t->vectors[k], missing);
            if (!isnan(values[m]) && values[m] != value)
                return error_set(
                    e,
                    "tensor %s of %s has a different fraction than the tensors before it; with "
                    "--scope model all tensors of a model must have the same fraction "
                    "(--exclude skips a tensor)",
                    t->name, h->models[m].name);
            values[m] = value;
        }
    }
    return 0;
}

/* ---- one tensor ------------------------------------------------------------------------------ */

struct magnitude_bands rank_filter_make_tensor_bands(const struct rank_filter *r,
                                                     const struct job *job)
{
    size_t n_models = r->bands.n;
    struct magnitude_bands bands = magnitude_bands_new(job->arena, job->in->n_vectors);
    for (size_t k = 0; k < bands.n; k++) {
        size_t m = job->in->vectors[k].model;
        bands.bands[k] = r->bands.bands[m];
        bands.offset[k] = r->tensor_offset[job->index * n_models + m];
    }
    return bands;
}

static void set_round_memory_sizes(struct job *job)
{
    job->sample_elements = magnitude_bands_sample_elements(job->state);
    job->work_size = magnitude_bands_work_size(job->state, job->block_elements);
}

static void set_output_vector_attributes(struct job *job)
{
    const struct magnitude_bands *bands = job->state;
    for (size_t k = 0; k < bands->n; k++) {
        struct vector *v = &job->out->vectors[k];
        double l1 = v->l1_before;
        if (isnan(l1) && !job->stage->data)
            l1 = magnitude_band_l1_norm(bands->bands[k]);
        if (magnitude_band_keeps_all(bands->bands[k]))
            v->l1_before = l1;
        else
            vector_set_attributes(v, l1, v->keep_probability);
    }
}

int rank_filter_begin(struct job *job, struct magnitude_bands bands)
{
    job->state = arena_copy(job->arena, &bands, sizeof bands);
    if (job->stage->data && !job->stage->in_model_rounds) {
        set_output_vector_attributes(job);
        return PLAN_TRANSFORM;
    }
    set_round_memory_sizes(job);
    return PLAN_OBSERVE;
}

int rank_filter_observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    magnitude_bands_observe_block(job->state, (float *const *)b->data, b->first, b->n, work);
    return 0;
}

int rank_filter_accumulate(struct job *job, const struct block *b, void *work, struct error *e)
{
    magnitude_bands_accumulate_block(job->state, b->n, work);
    return 0;
}

int rank_filter_decide(struct job *job, struct error *e)
{
    struct rank_filter *r = job->stage->data;
    if (r)
        return magnitude_bands_decide_after_round(&r->bands) ? VERDICT_DONE : VERDICT_AGAIN;
    if (!magnitude_bands_decide_after_round(job->state)) {
        set_round_memory_sizes(job);
        return VERDICT_AGAIN;
    }
    set_output_vector_attributes(job);
    return VERDICT_DONE;
}

int rank_filter_transform(const struct job *job, struct block *b, struct error *e)
{
    magnitude_bands_zero_outside(job->state, (float *const *)b->data, b->first, b->n);
    return 0;
}

/* ---- freeing --------------------------------------------------------------------------------- */

int rank_filter_end(struct job *job, bool ok, struct error *e)
{
    if (job->state && !job->stage->data)
        magnitude_bands_free(job->state);
    return 0;
}

int rank_filter_close(struct stage *s, bool ok, struct error *e)
{
    struct rank_filter *r = s->data;
    if (r) {
        magnitude_bands_free(&r->bands);
        arena_free(&r->arena);
    }
    free(r);
    return 0;
}
