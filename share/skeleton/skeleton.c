/* skeleton: limit the magnitude of every element
 *
 *     tau_i <- max(-c, min(tau_i, c))
 *
 * Replace this with the formula in the paper's symbols and with the paper: authors, year, arXiv
 * number, equation.
 *
 *     tv-extract base math code | skeleton --limit 0.01 | combine | pack --base base merged/
 */
#include "filter.h"

struct options {
    double limit;
};

static const struct option_row rows[] = {
    {"limit", OPTION_NUMBER, offsetof(struct options, limit), "C",
     .help = "largest magnitude of an element, above 0 (required)",
     .range = {0, INFINITY, .low_open = true, .high_open = true}, .required = true},
    {0}};

/* ---- the method ------------------------------------------------------------------------------ */

/* x: (n), in place */
static void clamp(float *x, size_t n, float limit)
{
    for (size_t i = 0; i < n; i++)
        x[i] = fmaxf(-limit, fminf(x[i], limit));
}

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    const struct options *o = job->stage->options;
    for (size_t k = 0; k < b->n_vectors; k++)
        clamp(block_floats(b, k), b->n, (float)o->limit);
    return 0;
}

/* ---- begin ----------------------------------------------------------------------------------- */

/* The L1 norm and the keep probability that an earlier stage recorded are no longer right. */
static int begin_tensor(struct job *job, struct error *e)
{
    for (size_t k = 0; k < job->out->n_vectors; k++)
        vector_set_attributes(&job->out->vectors[k], NAN, NAN);
    return PLAN_TRANSFORM;
}

const struct filter filter_skeleton = {
    .name = "skeleton",
    .summary = "Limit the magnitude of every element",
    .step = STEP_SPARSIFY,
    .notes = "  tv-extract base math code | skeleton --limit 0.01 | combine |\n"
             "      pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .element_wise = true,
    .begin_tensor = begin_tensor,
    .transform_block = transform_block,
};
