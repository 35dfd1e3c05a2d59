/* sce-weigh: set each vector's weight to its share of the energy (SCE)
 *
 *     w_k = sum_i tau_k,i^2 / sum_j sum_i tau_j,i^2       per tensor      SCE, step 2, "calculate"
 *
 * FuseChat: Wan et al. 2024, arXiv 2408.07990, section 3.3.
 *
 *     tv-extract base math code chat | sce-select --topk 0.1 | sce-weigh |
 *         elect-sign --unweighted | combine --normalize=agreeing --floor 1e-6 |
 *         pack --base base merged/
 *
 * As in mergekit all weights are 1/K if the mean squares of the K vectors add up to less than 1e-6.
 * Earlier weights are replaced; the payload is not changed.
 */
#include "filter.h"
#include "tensor_sums.h"

#define MIN_ENERGY 1e-6 /* sum of the mean squares */

/* w: (K), sums of squares of vectors of n elements, becomes weights. */
static void convert_energies_to_weights(double *w, size_t K, size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < K; k++) {
        w[k] /= (double)n;
        sum += w[k];
    }
    for (size_t k = 0; k < K; k++)
        w[k] = sum < MIN_ENERGY ? 1 / (double)K : w[k] / sum;
}

static int begin_tensor(struct job *job, struct error *e)
{
    size_t K = job->in->n_vectors;
    if (tensor_elements(job->in) == 0)
        return PLAN_PASS_THROUGH;
    job->state = arena_alloc(job->arena, K, sizeof(double));
    job->work_size = K * sizeof(double);
    return PLAN_OBSERVE;
}

static int accumulate_block(struct job *job, const struct block *b, void *work, struct error *e)
{
    tensor_sums_add_block_sums(work, b->n_vectors, job->state);
    return 0;
}

static int end_round(struct job *job, struct error *e)
{
    double *w = job->state;
    convert_energies_to_weights(w, job->in->n_vectors, tensor_elements(job->in));
    for (size_t k = 0; k < job->out->n_vectors; k++)
        vector_set_weights(&job->out->vectors[k], job->arena, 1, &w[k]);
    return VERDICT_DONE;
}

const struct filter filter_sce_weigh = {
    .name = "sce-weigh",
    .summary = "Set each vector's weight to its share of the energy (SCE)",
    .step = STEP_WEIGH,
    .notes = "  tv-extract base math code chat | sce-select --topk 0.1 | sce-weigh |\n"
             "      elect-sign --unweighted | combine --normalize=agreeing --floor 1e-6 |\n"
             "      pack --base base merged/",
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .across_vectors = true,
    .element_wise = true,
    .scope = SCOPE_TENSOR,
    .begin_tensor = begin_tensor,
    .observe_block = tensor_sums_observe_squares,
    .accumulate_block = accumulate_block,
    .end_round = end_round,
};
