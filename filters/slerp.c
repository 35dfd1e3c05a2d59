/* slerp: spherical interpolation from one model's weights to another's
 *
 *     th = angle between a and c
 *     y  = (sin((1 - t) th) a + sin(t th) c) / sin th      Shoemake 1985, SIGGRAPH 19 (3), p. 245
 *     y  = (1 - t) a + t c      if |cos th| > 0.9995: nearly parallel or opposite vectors
 *
 * a and c are whole tensors; a is the first vector of the stream. As in mergekit the vectors that
 * are interpolated keep their norms; for th a norm of at most 1e-8 counts as 1.
 *
 *     unpack math code | slerp --t 0.5 | pack --like math merged/
 *     unpack math code | slerp --t '[0.2,0.8]' | ...          a layer gradient
 */
#include "filter.h"
#include "gram_join.h"
#include "stage_rules.h"

struct options {
    struct tensor_rules t;
    const char *name;
};

static const struct option_row rows[] = {
    {"t", OPTION_RULES, offsetof(struct options, t), "T",
     .help = "position between the first model (0) and the second (1): a number, or rules such as "
             "/*mlp*=0.3 (required; repeatable)",
     .required = true, .per_tensor = true, .every_tensor = true},
    JOIN_NAME_ROW(options, name),
    {0}};

/* Sets the coefficients of a and c. */
static void set_slerp_coefficients(struct gram_join *g, double t)
{
    double a = gram_join_vector_norm(g, 0), c = gram_join_vector_norm(g, 1);
    double cosine = g->dot_products[1] / ((a > 1e-8 ? a : 1) * (c > 1e-8 ? c : 1));
    if (fabs(cosine) > 0.9995) {
        g->coefficients[0] = 1 - t;
        g->coefficients[1] = t;
    } else {
        gram_join_slerp_coefficients(cosine, t, g->coefficients);
    }
}

static int open_slerp(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    return join_declare_merged_model(h, o->name, 2, 2, e);
}

static int begin_tensor(struct job *job, struct error *e)
{
    return gram_join_begin(job, JOIN_NO_WEIGHTS, e);
}

static int end_round(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    if (job->state)
        set_slerp_coefficients(job->state, stage_rules_tensor_value(&o->t, job->in, NAN));
    return VERDICT_DONE;
}

const struct filter filter_slerp = {
    .name = "slerp",
    .summary = "Join two models' weights by spherical interpolation (SLERP)",
    .step = STEP_JOIN,
    .notes = "  unpack math code | slerp --t 0.5 | pack --like math merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_WEIGHTS,
    .role = ROLE_FILTER,
    .open = open_slerp,
    .scope = SCOPE_TENSOR,
    .begin_tensor = begin_tensor,
    .observe_block = gram_join_observe,
    .accumulate_block = gram_join_accumulate,
    .end_round = end_round,
    .transform_block = gram_join_transform,
};
