/* elect-sign: drop what disagrees with the majority (TIES)
 *
 *     gamma_i = sgn(sum_k w_k tau_k,i)         a sum of 0 elects +
 *     tau_k,i <- 0  where  sgn(w_k tau_k,i) != gamma_i
 *
 * TIES-Merging: Yadav et al. 2023, arXiv 2306.01708, section 3, step 2. As in mergekit the weights
 * vote, so a negative one turns its vector's votes; --unweighted counts all as 1 (the paper; SCE).
 *
 *     tv-extract base math code | trim --density 0.2 | elect-sign | combine --normalize=agreeing |
 *         pack --base base merged/
 */
#include "filter.h"

#include <stdlib.h>

struct options {
    bool unweighted;
};

static const struct option_row rows[] = {
    {"unweighted", OPTION_FLAG, offsetof(struct options, unweighted),
     .help = "count every vector's vote as 1, whatever its weight"},
    {0}};

static int begin(struct job *job, struct error *e)
{
    (void)e;
    for (size_t k = 0; k < job->out->n_vectors; k++)
        vector_set_attributes(&job->out->vectors[k], NAN, NAN);
    return PLAN_TRANSFORM;
}

/* Over stretches in which no weight changes. */
static int transform(const struct job *job, struct block *b, struct error *e)
{
    const struct options *o = job->stage->options;
    size_t K = b->n_vectors, n;
    double *w = mem_alloc(K, sizeof *w);
    float **x = mem_alloc(K, sizeof *x);
    (void)e;
    for (size_t i = 0; i < b->n; i += n) {
        n = tensor_weights(job->in, b->first + i, b->n - i, w);
        for (size_t k = 0; k < K; k++) {
            x[k] = block_x(b, k) + i;
            w[k] = o->unweighted ? 1 : w[k];
        }
        kern_elect(x, w, K, n);
    }
    free(w);
    free(x);
    return 0;
}

const struct filter filter_elect_sign = {
    .name = "elect-sign",
    .summary = "Drop the elements whose sign disagrees with the majority (TIES)",
    .notes = "  tv-extract base math code | trim --density 0.2 | elect-sign |\n"
             "      combine --normalize=agreeing | pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .element_wise = true,
    .begin = begin,
    .transform = transform,
};
