#include "random_drop.h"

#include "random.h"
#include "stage_rules.h"

void random_drop_init(struct random_drop *d, const struct job *job,
                      const struct tensor_rules *density, bool sum_l1)
{
    const struct tensor *t = job->in;
    d->vectors = arena_alloc(job->arena, t->n_vectors, sizeof *d->vectors);
    for (size_t k = 0; k < t->n_vectors; k++) {
        const struct vector *v = &t->vectors[k];
        const char *model = job->stage->in->models[v->model].name;
        d->vectors[k] = (struct random_drop_vector){
            .density = stage_rules_vector_value(job->stage, density, t, v, 1),
            .random_stream = random_stream_number_of_tensor(model, t->name),
            .sums_l1 = sum_l1 && isnan(v->l1_before),
            .l1 = v->l1_before,
            .kept_l1 = NAN};
    }
}

enum plan random_drop_choose_plan(struct random_drop *d, struct job *job)
{
    bool sums = false;
    for (size_t k = 0; k < job->in->n_vectors; k++)
        sums |= d->vectors[k].sums_l1;
    if (!sums || tensor_elements(job->in) == 0)
        return PLAN_TRANSFORM;
    d->mask = keep_mask_new(job);
    job->work_size = keep_mask_work_size(&d->mask);
    return PLAN_OBSERVE;
}

int random_drop_observe(const struct job *job, const struct block *b, void *work,
                        random_drop_draw *draw, struct error *e)
{
    const struct random_drop *d = job->state;
    double *sums = work, *kept_sums = sums + b->n_vectors;
    for (size_t k = 0; k < b->n_vectors; k++) {
        sums[k] = kept_sums[k] = vector_math_sum_abs(block_floats(b, k), b->n);
        if (!d->mask.bits || d->vectors[k].density >= 1)
            continue;
        unsigned char *bits = keep_mask_work_bits(&d->mask, work, k);
        if (draw(job, b, k, bits, e))
            return -1;
        kept_sums[k] = vector_math_sum_abs_marked(block_floats(b, k), bits, b->n);
    }
    return 0;
}

/* The next stage would add the same sums, unless a row is a block here, but not there. */
static bool finds_norms_of_kept(const struct random_drop *d, const struct job *job)
{
    return d->mask.bits && job->block_elements == tensor_block_elements(job->in);
}

int random_drop_accumulate(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct random_drop *d = job->state;
    const double *sums = work, *kept_sums = sums + b->n_vectors;
    for (size_t k = 0; k < b->n_vectors; k++) {
        struct random_drop_vector *v = &d->vectors[k];
        if (v->sums_l1)
            v->l1 = (b->index ? v->l1 : 0) + sums[k];
        if (finds_norms_of_kept(d, job))
            v->kept_l1 = (b->index ? v->kept_l1 : 0) + kept_sums[k];
    }
    keep_mask_store_block(&d->mask, b->index, work);
    return 0;
}

void random_drop_set_attributes(const struct random_drop_vector *d, double keep_probability,
                                struct vector *v)
{
    vector_set_attributes(v, d->l1, keep_probability);
    v->l1 = d->kept_l1;
}
