/* ram: keep what one expert changed, take the mean of what several changed
 *
 *     expert k touches an element if |tau_k| > epsilon;  c = how many do       mergekit's ram
 *     y = 0                               c = 0
 *     y = tau_k                           c = 1
 *     y = mean of the touching tau_k      c >= 2
 *     --plus: where c = 1,                                            mergekit's ramplus_tl
 *     y = (1 + r clamp(rho_k, 0, alpha)) tau_k,  rho_k = shared_k / max(unique_k, epsilon)
 *
 * shared_k and unique_k are how many elements of the tensor expert k touches with others and alone.
 *
 *     tv-extract base math code | ram | pack --base base merged/
 *     tv-extract base math code | ram --plus | pack --base base merged/
 */
#include "filter.h"
#include "join.h"

#include <stdlib.h>

struct options {
    bool plus;
    double r, alpha, epsilon;
    const char *name;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"epsilon", OPTION_NUMBER, FIELD(epsilon), "E",
     .help = "a change of at most E is none (default 1e-5)",
     .range = {0, INFINITY, .high_open = true}, .default_value = "1e-5"},
    {"plus", OPTION_FLAG, FIELD(plus),
     .help = "amplify what one expert alone changed, by its overlap with the others (RAM+)"},
    {"r", OPTION_NUMBER, FIELD(r), "R", .help = "with --plus: how much to amplify (default 0.1)",
     .range = {-INFINITY, INFINITY, true, true}, .default_value = "0.1"},
    {"alpha", OPTION_NUMBER, FIELD(alpha), "A",
     .help = "with --plus: bound of the overlap (default 0.2)",
     .range = {0, INFINITY, .high_open = true}, .default_value = "0.2"},
    JOIN_NAME_ROW(options, name),
    {0}};
#undef FIELD

/* How many elements an expert touches; and by what its own are multiplied. */
struct touch {
    uint64_t shared, unique;
    double factor;
};

/* ---- the method ------------------------------------------------------------------------------ */

/* How many of the K touch element i; `last` is one of them. */
static size_t touching(float *const *x, size_t K, size_t i, double epsilon, size_t *last)
{
    size_t count = 0;
    for (size_t k = 0; k < K; k++)
        if (fabsf(x[k][i]) > (float)epsilon) {
            *last = k;
            count++;
        }
    return count;
}

/* x[k] over n elements; the result goes to x[0] */
static void join(float *const *x, size_t K, size_t n, double epsilon, const struct touch *touches)
{
    for (size_t i = 0; i < n; i++) {
        size_t last = 0, count = touching(x, K, i, epsilon, &last);
        double sum = 0;
        for (size_t k = 0; k < K && count > 1; k++)
            sum += fabsf(x[k][i]) > (float)epsilon ? (double)x[k][i] : 0;
        if (count > 1)
            x[0][i] = (float)(sum / (double)count);
        else
            x[0][i] = count ? (float)(touches[last].factor * (double)x[last][i]) : 0;
    }
}

/* Adds to the touches. */
static void count(float *const *x, size_t K, size_t n, double epsilon, struct touch *touches)
{
    for (size_t i = 0; i < n; i++) {
        size_t last, c = touching(x, K, i, epsilon, &last);
        if (c == 1)
            touches[last].unique++;
        for (size_t k = 0; k < K && c > 1; k++)
            touches[k].shared += fabsf(x[k][i]) > (float)epsilon;
    }
}

static double amplification(const struct options *o, const struct touch *t)
{
    double unique = (double)t->unique > o->epsilon ? (double)t->unique : o->epsilon;
    double rho = (double)t->shared / unique;
    return 1 + o->r * (rho < o->alpha ? rho : o->alpha);
}

/* ---- around it ------------------------------------------------------------------------------- */

static int transform(const struct job *job, struct block *b, struct error *e)
{
    const struct options *o = job->stage->options;
    if (!job->state)
        return join_identical_vectors(job->in, b, e);
    float **x = join_vector_pointers(b);
    join(x, b->n_vectors, b->n, o->epsilon, job->state);
    free(x);
    b->n_vectors = 1;
    return 0;
}

static int observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct options *o = job->stage->options;
    struct touch *found = work;
    for (size_t k = 0; k < b->n_vectors; k++)
        found[k] = (struct touch){0};
    float **x = join_vector_pointers(b);
    count(x, b->n_vectors, b->n, o->epsilon, found);
    free(x);
    return 0;
}

static int merge(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct touch *touches = job->state;
    const struct touch *found = work;
    for (size_t k = 0; k < b->n_vectors; k++) {
        touches[k].shared += found[k].shared;
        touches[k].unique += found[k].unique;
    }
    return 0;
}

static int decide(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    struct touch *touches = job->state;
    for (size_t k = 0; touches && k < job->in->n_vectors; k++)
        touches[k].factor = o->plus ? amplification(o, &touches[k]) : 1;
    return VERDICT_DONE;
}

static int open_ram(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    for (size_t i = 0; rows[i].name; i++)
        if (s->given[i] && !o->plus &&
            (rows[i].offset == offsetof(struct options, r) ||
             rows[i].offset == offsetof(struct options, alpha)))
            return error_set(e, "--%s needs --plus", rows[i].name);
    return join_declare_result(h, o->name, 1, SIZE_MAX, e);
}

static int begin(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct tensor *t = job->in;
    if (join_check_weights(job->stage, t, JOIN_NO_WEIGHTS, e))
        return -1;
    if (!tensor_is_float(t))
        return PLAN_TRANSFORM;
    job->state = arena_alloc(job->arena, t->n_vectors, sizeof(struct touch));
    job->work_size = t->n_vectors * sizeof(struct touch);
    return o->plus ? PLAN_OBSERVE : PLAN_TRANSFORM;
}

static enum scope scope(const struct stage *s)
{
    const struct options *o = s->options;
    return o->plus ? SCOPE_TENSOR : SCOPE_BLOCK;
}

const struct filter filter_ram = {
    .name = "ram",
    .summary = "Join task vectors: what one expert changed stays, what several changed is averaged "
               "(RAM)",
    .notes = "  tv-extract base math code | ram | pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .open = open_ram,
    .choose_scope = scope,
    .begin = begin,
    .observe = observe,
    .accumulate = merge,
    .decide = decide,
    .transform = transform,
};
