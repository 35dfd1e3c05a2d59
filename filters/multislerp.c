/* multislerp: the mean direction of several vectors, with their mean norm
 *
 *     n_k = |x_k|,  u_k = x_k / (n_k + eps)
 *     m = sum_k w_k u_k                                              mergekit's multislerp
 *     y = cos(eps) (sum_k w_k n_k) m / |m|
 *
 * x_k is a whole tensor. The weights are divided by their sum first unless --normalize=none is
 * given.
 * mergekit then adds the mean of the tangent vectors from m to the u_k, which is 0 except for
 * rounding, because m is the mean of the u_k; its exponential map leaves a factor of cos(eps).
 *
 * If m vanishes (|m| below eps or within the rounding of F32), there is no mean direction: two
 * vectors are added with their weights; more vectors are an error, unless all are 0. A single
 * vector is not changed.
 *
 *     unpack math code chat | weigh math=0.5 | multislerp | pack --like math merged/
 *     tv-extract base math code chat | multislerp | pack --base base merged/
 */
#include "filter.h"
#include "gram_join.h"
#include "stage_rules.h"

#include <stdlib.h>
#include <string.h>

struct options {
    struct tensor_rules normalize, eps;
    const char *name;
};

enum { NORMALIZE_NONE, NORMALIZE_ALL };

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"normalize", OPTION_CHOICE_RULES, FIELD(normalize), "WHICH",
     .help = "divide the weights by their sum (all, the default) or not (none), or as rules say: "
             "/*mlp*=none (repeatable)",
     .choices = "none|all", .per_tensor = true},
    {"eps", OPTION_RULES, FIELD(eps), "E",
     .help = "number added to every norm; also the minimum norm of a mean direction (default "
             "1e-8), or rules such as /*mlp*=1e-6 (repeatable)",
     .range = {0, INFINITY, .low_open = true, .high_open = true}, .per_tensor = true},
    JOIN_NAME_ROW(options, name),
    {0}};
#undef FIELD

#define DEFAULT_EPS 1e-8
#define ROUNDING    1e-7 /* a sum of unit vectors of F32 numbers below this length may be 0 */

/* w: (K), divided by their sum unless --normalize=none */
static int normalize_weights(const struct job *job, double *w, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct tensor *t = job->in;
    bool normalize = stage_rules_tensor_value(&o->normalize, t, NORMALIZE_ALL) == NORMALIZE_ALL;
    double sum = 0, divisor = 1;
    for (size_t k = 0; k < t->n_vectors; k++)
        sum += w[k] = t->vectors[k].weights[0];
    if (normalize && join_mean_divisor(job->stage->in->kind, sum,
                                       "without --normalize=none this method", &divisor, e))
        return -1;
    for (size_t k = 0; k < t->n_vectors; k++)
        w[k] /= divisor;
    return 0;
}

/* Sets the coefficients from the weights w: (K). -1: there is no mean direction. */
static int set_coefficients_of_mean_direction(struct gram_join *g, const double *w, double eps)
{
    double mean_norm = 0, sum_weights = 0, sum_norms = 0; /* the last two of magnitudes */
    for (size_t k = 0; k < g->n_vectors; k++) {
        double norm = gram_join_vector_norm(g, k);
        g->coefficients[k] = w[k] / (norm + eps);
        mean_norm += w[k] * norm;
        sum_weights += fabs(w[k]);
        sum_norms += fabs(w[k]) * norm;
    }
    double m = gram_join_norm_of_sum(g, g->coefficients);
    if (m < eps || m < ROUNDING * sum_weights) {
        memcpy(g->coefficients, w, g->n_vectors * sizeof *w);
        return g->n_vectors > 2 && sum_norms > 0 ? -1 : 0;
    }
    for (size_t k = 0; k < g->n_vectors; k++)
        g->coefficients[k] *= (double)cosl(eps) * mean_norm / m;
    return 0;
}

static int end_round(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    struct gram_join *g = job->state;
    if (!g || g->n_vectors == 1)
        return VERDICT_DONE;
    double eps = stage_rules_tensor_value(&o->eps, job->in, DEFAULT_EPS);
    double *w = mem_alloc(g->n_vectors, sizeof *w);
    int failed = normalize_weights(job, w, e);
    if (!failed && set_coefficients_of_mean_direction(g, w, eps))
        failed = error_set(e, "the vectors of tensor %s cancel out: they have no mean direction",
                           job->in->name);
    free(w);
    return failed ? -1 : VERDICT_DONE;
}

static int open_multislerp(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    return join_declare_merged_model(h, o->name, 1, GRAM_JOIN_MAX, e);
}

static int begin_tensor(struct job *job, struct error *e)
{
    return gram_join_begin(job, JOIN_VECTOR_WEIGHTS, e);
}

const struct filter filter_multislerp = {
    .name = "multislerp",
    .summary = "Join vectors into their mean direction, with their mean norm (multi-SLERP)",
    .step = STEP_JOIN,
    .notes = "  unpack math code chat | weigh math=0.5 code=0.3 chat=0.2 | multislerp |\n"
             "      pack --like math merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS | KIND_WEIGHTS,
    .role = ROLE_FILTER,
    .open = open_multislerp,
    .scope = SCOPE_TENSOR,
    .begin_tensor = begin_tensor,
    .observe_block = gram_join_observe,
    .accumulate_block = gram_join_accumulate,
    .end_round = end_round,
    .transform_block = gram_join_transform,
};
