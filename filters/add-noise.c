/* add-noise: add normal noise to each vector
 *
 *     x <- x + s z,  z from N(0, 1)
 *
 *     unpack base | add-noise 0.001 | pack --like base noisy/
 *
 * SCALE, s, may be rules: `add-noise '*mlp*=0.01'`. An element's z depends only on seed, model,
 * tensor and index (share/stream.md, appendix), so that the same noise results on any machine.
 * mergekit-moe's noise_scale does this to the experts' MLPs, with another generator.
 */
#include "filter.h"
#include "random.h"
#include "stage_rules.h"

#include <stdlib.h>

struct options {
    uint64_t seed;
    struct tensor_rules scale;
};

static const struct option_row rows[] = {{"seed", OPTION_COUNT, offsetof(struct options, seed), "S",
                                          .help = "seed of the noise (default 0)",
                                          .default_value = "0"},
                                         {0}};
static const struct option_row scale_row = {.name = "SCALE",
                                            .kind = OPTION_RULES,
                                            .offset = offsetof(struct options, scale),
                                            .range = {.low = 0, .high = INFINITY}};

/* One vector of a tensor. */
struct state {
    double scale;
    uint64_t random_stream;
};

/* x += s z, for elements `first` on */
static void add_noise(float *x, size_t n, double scale, uint64_t seed, uint64_t stream,
                      uint64_t first)
{
    float z[1024];
    for (size_t done = 0; done < n; done += sizeof z / sizeof *z) {
        size_t m = n - done < sizeof z / sizeof *z ? n - done : sizeof z / sizeof *z;
        random_fill_normal(seed, stream, first + done, m, z);
        for (size_t i = 0; i < m; i++)
            x[done + i] += (float)scale * z[i];
    }
}

static int begin_tensor(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct tensor *t = job->in;
    struct state *st = job->state = arena_alloc(job->arena, t->n_vectors, sizeof *st);
    for (size_t k = 0; k < t->n_vectors; k++) {
        const struct vector *v = &t->vectors[k];
        const char *model = job->stage->in->models[v->model].name;
        st[k].scale = stage_rules_vector_value(job->stage, &o->scale, t, v, 0);
        st[k].random_stream = random_stream_number_of_tensor(model, t->name);
        if (st[k].scale > 0)
            vector_set_attributes(&job->out->vectors[k], v->l1_before, v->keep_probability);
    }
    return PLAN_TRANSFORM;
}

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct state *st = job->state;
    for (size_t k = 0; k < b->n_vectors; k++)
        if (st[k].scale > 0)
            add_noise(block_floats(b, k), b->n, st[k].scale, o->seed, st[k].random_stream,
                      b->first);
    return 0;
}

const struct filter filter_add_noise = {
    .name = "add-noise",
    .summary = "Add normal noise to each vector",
    .step = STEP_SCALE,
    .operands = "SCALE...",
    .notes = "SCALE is the noise's standard deviation, or a rule: 0.001, '*mlp*=0.01'.\n\n"
             "  unpack base | add-noise 0.001 | pack --like base noisy/",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = SIZE_MAX,
    .operand_row = &scale_row,
    .kinds = KIND_TASK_VECTORS | KIND_WEIGHTS,
    .role = ROLE_FILTER,
    .element_wise = true,
    .begin_tensor = begin_tensor,
    .transform_block = transform_block,
};
