/* ram: keep what one expert changed, take the mean of what several changed
 *
 *     expert k changes an element if |tau_k| > epsilon;  c experts do          mergekit's ram
 *     y = 0                               c = 0
 *     y = tau_k                           c = 1
 *     y = mean of the changing tau_k      c >= 2
 *     --plus: if c = 1,                                               mergekit's ramplus_tl
 *     y = (1 + r clamp(rho_k, 0, alpha)) tau_k,  rho_k = shared_k / max(unique_k, epsilon)
 *
 * shared_k and unique_k count the elements of the tensor that expert k changes with others and
 * alone.
 *
 *     tv-extract base math code | ram | pack --base base merged/
 *     tv-extract base math code | ram --plus | pack --base base merged/
 */
#include "filter.h"
#include "join.h"
#include "stage.h"
#include "stage_rules.h"

#include <stdlib.h>

struct options {
    bool plus;
    struct tensor_rules r, alpha, epsilon;
    const char *name;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"epsilon", OPTION_RULES, FIELD(epsilon), "E",
     .help = "an element changes if its magnitude is above E (default 1e-5), or rules such as "
             "/*mlp*=1e-4 (repeatable)",
     .range = {0, INFINITY, .high_open = true}, .per_tensor = true},
    {"plus", OPTION_FLAG, FIELD(plus),
     .help = "amplify what only one expert changed, by its overlap with the others (RAM+)"},
    {"r", OPTION_RULES, FIELD(r), "R",
     .help = "with --plus: strength of the amplification (default 0.1), or rules (repeatable)",
     .range = {-INFINITY, INFINITY, true, true}, .per_tensor = true},
    {"alpha", OPTION_RULES, FIELD(alpha), "A",
     .help = "with --plus: upper bound of the overlap (default 0.2), or rules (repeatable)",
     .range = {0, INFINITY, .high_open = true}, .per_tensor = true},
    JOIN_NAME_ROW(options, name),
    {0}};
#undef FIELD

#define DEFAULT_EPSILON 1e-5
#define DEFAULT_R       0.1
#define DEFAULT_ALPHA   0.2

/* The elements of a tensor that one expert changes. */
struct change {
    uint64_t shared, unique; /* counts: with other experts, alone */
    double factor;           /* for those that it changes alone */
};

/* One floating tensor. */
struct state {
    double r, alpha, epsilon;
    struct change *changes; /* (K) */
};

/* ---- the method ------------------------------------------------------------------------------ */

/* How many of the K experts change element i; `last` is one of them. */
static size_t count_experts_changing_element(float *const *x, size_t K, size_t i, double epsilon,
                                             size_t *last)
{
    size_t count = 0;
    for (size_t k = 0; k < K; k++)
        if (fabsf(x[k][i]) > (float)epsilon) {
            *last = k;
            count++;
        }
    return count;
}

/* x[0] = y, x: (K, n) */
static void join_changed_elements(float *const *x, size_t K, size_t n, double epsilon,
                                  const struct change *changes)
{
    for (size_t i = 0; i < n; i++) {
        size_t last = 0, count = count_experts_changing_element(x, K, i, epsilon, &last);
        double sum = 0;
        for (size_t k = 0; k < K && count > 1; k++)
            sum += fabsf(x[k][i]) > (float)epsilon ? (double)x[k][i] : 0;
        if (count > 1)
            x[0][i] = (float)(sum / (double)count);
        else
            x[0][i] = count ? (float)(changes[last].factor * (double)x[last][i]) : 0;
    }
}

/* Adds the counts of n elements. */
static void count_unique_and_shared_changes(float *const *x, size_t K, size_t n, double epsilon,
                                            struct change *changes)
{
    for (size_t i = 0; i < n; i++) {
        size_t last, c = count_experts_changing_element(x, K, i, epsilon, &last);
        if (c == 1)
            changes[last].unique++;
        for (size_t k = 0; k < K && c > 1; k++)
            changes[k].shared += fabsf(x[k][i]) > (float)epsilon;
    }
}

static double compute_amplification(const struct state *st, const struct change *t)
{
    double unique = (double)t->unique > st->epsilon ? (double)t->unique : st->epsilon;
    double rho = (double)t->shared / unique;
    return 1 + st->r * (rho < st->alpha ? rho : st->alpha);
}

/* ---- the functions of the descriptor --------------------------------------------------------- */

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    const struct state *st = job->state;
    if (!st)
        return join_require_identical(job->in, b, e);
    float **x = join_list_vector_pointers(b);
    join_changed_elements(x, b->n_vectors, b->n, st->epsilon, st->changes);
    free(x);
    b->n_vectors = 1;
    return 0;
}

static int observe_block(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct state *st = job->state;
    struct change *block_changes = work;
    for (size_t k = 0; k < b->n_vectors; k++)
        block_changes[k] = (struct change){0};
    float **x = join_list_vector_pointers(b);
    count_unique_and_shared_changes(x, b->n_vectors, b->n, st->epsilon, block_changes);
    free(x);
    return 0;
}

static int accumulate_block(struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct state *st = job->state;
    const struct change *block_changes = work;
    for (size_t k = 0; k < b->n_vectors; k++) {
        st->changes[k].shared += block_changes[k].shared;
        st->changes[k].unique += block_changes[k].unique;
    }
    return 0;
}

static int end_round(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct state *st = job->state;
    for (size_t k = 0; st && k < job->in->n_vectors; k++)
        st->changes[k].factor = o->plus ? compute_amplification(st, &st->changes[k]) : 1;
    return VERDICT_DONE;
}

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    const char *option = stage_is_given(s, "r") ? "r" : stage_is_given(s, "alpha") ? "alpha" : NULL;
    return option && !o->plus ? error_set(e, "--%s needs --plus", option) : 0;
}

static int open_ram(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    return join_declare_merged_model(h, o->name, 1, SIZE_MAX, e);
}

static int begin_tensor(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct tensor *t = job->in;
    if (join_use_weights(job, JOIN_NO_WEIGHTS, e))
        return -1;
    if (!tensor_is_float(t))
        return PLAN_TRANSFORM;
    struct state *st = job->state = arena_alloc(job->arena, 1, sizeof *st);
    st->changes = arena_alloc(job->arena, t->n_vectors, sizeof *st->changes);
    st->r = stage_rules_tensor_value(&o->r, t, DEFAULT_R);
    st->alpha = stage_rules_tensor_value(&o->alpha, t, DEFAULT_ALPHA);
    st->epsilon = stage_rules_tensor_value(&o->epsilon, t, DEFAULT_EPSILON);
    job->work_size = t->n_vectors * sizeof(struct change);
    return o->plus ? PLAN_OBSERVE : PLAN_TRANSFORM;
}

static enum scope choose_scope(const struct stage *s)
{
    const struct options *o = s->options;
    return o->plus ? SCOPE_TENSOR : SCOPE_BLOCK;
}

const struct filter filter_ram = {
    .name = "ram",
    .summary =
        "Join task vectors: keep what one expert changed, average what several changed (RAM)",
    .step = STEP_JOIN,
    .notes = "  tv-extract base math code | ram | pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .check_options = check_options,
    .open = open_ram,
    .choose_scope = choose_scope,
    .begin_tensor = begin_tensor,
    .observe_block = observe_block,
    .accumulate_block = accumulate_block,
    .end_round = end_round,
    .transform_block = transform_block,
};
