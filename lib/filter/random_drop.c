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
            .l1 = v->l1_before};
    }
}

enum plan random_drop_choose_plan(struct random_drop *d, struct job *job, size_t block_bytes)
{
    bool sums = false;
    for (size_t k = 0; k < job->in->n_vectors; k++)
        sums |= d->vectors[k].sums_l1;
    if (!sums || tensor_elements(job->in) == 0)
        return PLAN_TRANSFORM;
    d->mask = keep_mask_new(job, block_bytes);
    job->work_size = keep_mask_work_size(&d->mask);
    return PLAN_OBSERVE;
}

int random_drop_observe(const struct job *job, const struct block *b, void *work,
                        random_drop_draw *draw, struct error *e)
{
    const struct random_drop *d = job->state;
    for (size_t k = 0; d->mask.bits && k < b->n_vectors; k++)
        if (d->vectors[k].density < 1 && draw(job, b, k, keep_mask_work_bits(&d->mask, work, k), e))
            return -1;
    tensor_sums_observe_abs(job, b, work, NULL);
    return 0;
}

int random_drop_accumulate(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct random_drop *d = job->state;
    const double *sums = work;
    for (size_t k = 0; k < b->n_vectors; k++)
        if (d->vectors[k].sums_l1)
            d->vectors[k].l1 = (b->index ? d->vectors[k].l1 : 0) + sums[k];
    keep_mask_store_block(&d->mask, b->index, work);
    return 0;
}
