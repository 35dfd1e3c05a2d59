/* rescale: multiply each vector by a number
 *
 *     FACTOR       tau <- FACTOR tau       lambda of Task Arithmetic (arXiv 2212.04089) and TIES; a
 *                                          negative one unlearns
 *     --by keep    tau <- tau / p          p: probability with which elements were kept (DARE)
 *     --by l1      tau <- tau (B / A)      B, A: L1 norms before elements were dropped and now
 *                                          (mergekit's `rescale`); unchanged if one is below 1e-7
 *
 *     tv-extract base math code | combine | rescale 0.4 | pack --base base merged/
 *
 * dare-drop, della-drop and trim record p or B in the stream, the first two also A; --by removes
 * the attribute that it used, and a vector without it is an error. FACTOR may be rules: `rescale
 * math=0.5 code=0.3`.
 */
#include "filter.h"
#include "stage_rules.h"
#include "tensor_sums.h"

#include <math.h>
#include <stdlib.h>

struct options {
    struct tensor_rules by, factors;
};

enum { BY_NOTHING, BY_KEEP, BY_L1 };

static const struct option_row rows[] = {
    {"by", OPTION_CHOICE_RULES, offsetof(struct options, by), "WHAT",
     .help = "compensate for dropped elements: divide by the probability of keeping them (keep), "
             "restore the L1 norm (l1), or as rules say: /*mlp*=l1 (repeatable)",
     .choices = "none|keep|l1", .per_tensor = true},
    {0}};
static const struct option_row factor_row = {
    .name = "FACTOR", .kind = OPTION_RULES, .offset = offsetof(struct options, factors)};

/* One vector of a tensor. */
struct state {
    double factor, l1;
};

static int find_compensation(const struct job *job)
{
    const struct options *o = job->stage->options;
    return (int)stage_rules_tensor_value(&o->by, job->in, BY_NOTHING);
}

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    const struct state *st = job->state;
    for (size_t k = 0; k < b->n_vectors; k++)
        if (st[k].factor != 1)
            vector_math_scale(block_floats(b, k), st[k].factor, b->n);
    return 0;
}

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    return (tensor_rules_count(&o->by) == 0) == (s->operands.n == 0)
               ? error_set(e, "expected either a FACTOR or --by")
               : 0;
}

/* --by l1: has an earlier stage recorded the norms of all vectors, so that no round is needed? */
static bool norms_are_known(const struct tensor *t)
{
    bool known = true;
    for (size_t k = 0; k < t->n_vectors; k++)
        known &= !isnan(t->vectors[k].l1);
    return known;
}

/* --by: has an earlier stage recorded the attribute? */
static int check_attribute_is_recorded(const struct job *job, int by, const struct vector *v,
                                       struct error *e)
{
    const char *tensor = job->in->name, *model = job->stage->in->models[v->model].name;
    if (tensor_elements(job->in) == 0) /* nothing is recorded for empty tensors */
        return 0;
    if (by == BY_KEEP && isnan(v->keep_probability))
        return error_set(
            e,
            "tensor %s of %s: no earlier stage recorded the probability of keeping its "
            "elements (dare-drop does)",
            tensor, model);
    if (by == BY_L1 && isnan(v->l1_before))
        return error_set(e,
                         "tensor %s of %s: no earlier stage recorded its L1 norm (trim, della-drop "
                         "and dare-drop --l1 do)",
                         tensor, model);
    return 0;
}

static int begin_tensor(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct tensor *t = job->in;
    struct state *st = job->state = arena_alloc(job->arena, t->n_vectors, sizeof *st);
    int by = find_compensation(job);
    bool norms_known = norms_are_known(t);
    for (size_t k = 0; k < t->n_vectors; k++) {
        const struct vector *v = &t->vectors[k];
        if (check_attribute_is_recorded(job, by, v, e))
            return -1;
        st[k].factor = stage_rules_vector_value(job->stage, &o->factors, t, v, 1);
        if (by == BY_KEEP)
            st[k].factor = v->keep_probability > 0 ? 1 / v->keep_probability : 1;
        if (norms_known)
            st[k].l1 = v->l1;
    }
    job->work_size = t->n_vectors * sizeof(double);
    bool needs_round = by == BY_L1 && tensor_elements(t) > 0 && !norms_known;
    return needs_round ? PLAN_OBSERVE : PLAN_TRANSFORM;
}

static int accumulate_block(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct state *st = job->state;
    const double *l1 = work;
    for (size_t k = 0; k < b->n_vectors; k++)
        st[k].l1 += l1[k];
    return 0;
}

static int end_round(struct job *job, struct error *e)
{
    struct state *st = job->state;
    int by = find_compensation(job);
    for (size_t k = 0; k < job->out->n_vectors; k++) {
        struct vector *v = &job->out->vectors[k];
        if (by == BY_L1 && v->l1_before >= 1e-7 && st[k].l1 >= 1e-7)
            st[k].factor = v->l1_before / st[k].l1;
        double l1 = by == BY_L1 ? NAN : v->l1_before * fabs(st[k].factor);
        vector_set_attributes(v, l1, by == BY_KEEP ? NAN : v->keep_probability);
    }
    return VERDICT_DONE;
}

static enum scope choose_scope(const struct stage *s)
{
    const struct options *o = s->options;
    return tensor_rules_contain_value(&o->by, BY_L1) ? SCOPE_TENSOR : SCOPE_BLOCK;
}

const struct filter filter_rescale = {
    .name = "rescale",
    .summary = "Multiply each vector by a number",
    .step = STEP_SCALE,
    .operands = "[FACTOR...]",
    .notes = "FACTOR is a number or a rule: 0.4, -1, math=0.5, math/*mlp*=0.3, [0.2,0.8] over the "
             "layers, or @FILE with one rule per line; the last match wins.\n\n"
             "  tv-extract base math code | combine | rescale 0.4 | pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .max_operands = SIZE_MAX,
    .operand_row = &factor_row,
    .kinds = KIND_TASK_VECTORS | KIND_WEIGHTS,
    .role = ROLE_FILTER,
    .element_wise = true,
    .check_options = check_options,
    .choose_scope = choose_scope,
    .begin_tensor = begin_tensor,
    .observe_block = tensor_sums_observe_abs,
    .accumulate_block = accumulate_block,
    .end_round = end_round,
    .transform_block = transform_block,
};
