/* combine: the weighted sum of the vectors
 *
 *     tau = sum_k w_k tau_k                                      Task Arithmetic, arXiv 2212.04089
 *     --normalize=all:       divided by sum_k w_k                a weighted mean
 *     --normalize=agreeing:  per element, divided by the sum of w_k over those k whose element is
 *                            not 0                               TIES' disjoint mean, 2306.01708
 *     --floor F:             divided by max(that sum, F)         SCE, 2408.07990
 *
 *     tv-extract base math code | weigh math=0.6 code=0.4 | combine | pack --base base merged/
 *
 * A divisor D with |D| < 1e-8 counts as 1, except that for --normalize=all in a stream of weights
 * it is an error. Sums are taken in double and rounded once. Integer tensors pass if all models
 * agree and are an error otherwise.
 */
#include "filter.h"
#include "join.h"
#include "stage_rules.h"
#include "weight_segments.h"

struct options {
    struct tensor_rules normalize;
    double floor;
    const char *name;
};

enum { NORMALIZE_NONE, NORMALIZE_ALL, NORMALIZE_AGREEING };

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"normalize", OPTION_CHOICE_RULES, FIELD(normalize), "WHICH",
     .help = "divide by the sum of all weights, or, per element, of those whose element is not 0 "
             "(agreeing): none (default), all, agreeing, or rules such as /*mlp*=all (repeatable)",
     .choices = "none|all|agreeing", .per_tensor = true},
    {"floor", OPTION_NUMBER, FIELD(floor), "F",
     .help = "divide by at least F, a number above 0 (needs --normalize)",
     .range = {0, INFINITY, .low_open = true, .high_open = true}},
    JOIN_NAME_ROW(options, name),
    {0}};
#undef FIELD

static int find_normalization(const struct job *job)
{
    const struct options *o = job->stage->options;
    return (int)stage_rules_tensor_value(&o->normalize, job->in, NORMALIZE_NONE);
}

/* ---- the method ------------------------------------------------------------------------------ */

/* The divisor of the weighted sum. */
static int compute_divisor(const struct job *job, const double *w, size_t K, double *divisor,
                           struct error *e)
{
    const struct options *o = job->stage->options;
    double sum = 0;
    for (size_t k = 0; k < K; k++)
        sum += w[k];
    if (o->floor <= 0)
        return join_mean_divisor(job->stage->in->kind, sum, "--normalize=all", divisor, e);
    *divisor = sum > o->floor ? sum : o->floor;
    return 0;
}

/* x[0] = the join of the x[k], (K, n) */
static int compute_weighted_sum_of_segment(const struct job *job, int normalization,
                                           const struct weight_segments *s, struct error *e)
{
    const struct options *o = job->stage->options;
    double divisor = 1;
    if (normalization == NORMALIZE_AGREEING) {
        vector_math_disjoint_mean(s->x, s->w, s->K, o->floor, s->x[0], s->n);
        return 0;
    }
    if (normalization == NORMALIZE_ALL && compute_divisor(job, s->w, s->K, &divisor, e))
        return -1;
    vector_math_weighted_sum(s->x, s->w, s->K, divisor, s->x[0], s->n);
    return 0;
}

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    if (!tensor_is_float(job->in))
        return join_require_identical(job->in, b, e);
    struct weight_segments s = weight_segments_begin(job->in, b);
    int failed = 0, normalization = find_normalization(job);
    while (!failed && weight_segments_next(&s))
        failed = compute_weighted_sum_of_segment(job, normalization, &s, e);
    weight_segments_free(&s);
    b->n_vectors = 1;
    return failed;
}

/* ---- open and begin ------------------------------------------------------------------------- */

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    return o->floor > 0 && tensor_rules_count(&o->normalize) == 0
               ? error_set(e, "--floor needs --normalize")
               : 0;
}

static int open_combine(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    return join_declare_merged_model(h, o->name, 1, SIZE_MAX, e);
}

static int begin_tensor(struct job *job, struct error *e)
{
    return join_use_weights(job, JOIN_CHUNK_WEIGHTS, e) ? -1 : PLAN_TRANSFORM;
}

const struct filter filter_combine = {
    .name = "combine",
    .summary = "Join the vectors into their weighted sum",
    .step = STEP_JOIN,
    .notes = "  tv-extract base math code | weigh math=0.6 code=0.4 | combine |\n"
             "      pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS | KIND_WEIGHTS,
    .role = ROLE_FILTER,
    .check_options = check_options,
    .open = open_combine,
    .begin_tensor = begin_tensor,
    .transform_block = transform_block,
};
