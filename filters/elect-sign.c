/* elect-sign: drop the elements that disagree with the elected sign (TIES)
 *
 *     gamma_i = sgn(sum_k w_k tau_k,i)         a sum of 0 elects +
 *     tau_k,i <- 0  where  sgn(w_k tau_k,i) != gamma_i
 *
 * TIES-Merging: Yadav et al. 2023, arXiv 2306.01708, section 3, step 2. As in mergekit the weights
 * vote, so a negative weight flips its vector's vote; --unweighted counts all as 1 (the paper;
 * SCE).
 *
 *     tv-extract base math code | trim --density 0.2 | elect-sign | combine --normalize=agreeing |
 *         pack --base base merged/
 */
#include "filter.h"
#include "weight_segments.h"

struct options {
    bool unweighted;
};

static const struct option_row rows[] = {
    {"unweighted", OPTION_FLAG, offsetof(struct options, unweighted),
     .help = "ignore the weights: let every vector vote as if its weight were 1"},
    {0}};

static int begin_tensor(struct job *job, struct error *e)
{
    for (size_t k = 0; k < job->out->n_vectors; k++)
        vector_set_attributes(&job->out->vectors[k], NAN, NAN);
    return PLAN_TRANSFORM;
}

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    const struct options *o = job->stage->options;
    struct weight_segments s = weight_segments_begin(job->in, b);
    while (weight_segments_next(&s)) {
        for (size_t k = 0; k < s.K; k++)
            s.w[k] = o->unweighted ? 1 : s.w[k];
        vector_math_elect_signs_and_zero_others(s.x, s.w, s.K, s.n);
    }
    weight_segments_free(&s);
    return 0;
}

const struct filter filter_elect_sign = {
    .name = "elect-sign",
    .summary = "Drop the elements whose sign disagrees with the majority (TIES)",
    .step = STEP_RESOLVE,
    .notes = "  tv-extract base math code | trim --density 0.2 | elect-sign |\n"
             "      combine --normalize=agreeing | pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .across_vectors = true,
    .element_wise = true,
    .only_drops_elements = true,
    .begin_tensor = begin_tensor,
    .transform_block = transform_block,
};
