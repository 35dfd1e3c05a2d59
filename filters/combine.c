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
 * A divisor with |D| < 1e-8 counts as 1 in task vectors and is an error in weights. Sums are taken
 * in double and rounded once. Integer tensors are taken if all models agree, and refused otherwise.
 */
#include "filter.h"

#include <stdlib.h>
#include <string.h>

struct options {
    int normalize;
    double floor;
    const char *name;
};

enum { BY_ALL, BY_AGREEING };

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"normalize", OPTION_CHOICE, FIELD(normalize), "all|agreeing",
     .help = "divide by the sum of all weights, or by that of the vectors whose element is not 0",
     .choices = "all|agreeing"},
    {"floor", OPTION_NUMBER, FIELD(floor), "F",
     .help = "never divide by less than F (above 0; needs --normalize)",
     .range = {0, INFINITY, .low_open = true, .high_open = true}},
    {"name", OPTION_TEXT, FIELD(name), "NAME", .help = "name of the result (default merged)",
     .preset = "merged"},
    {0}};
#undef FIELD

/* ---- the method ------------------------------------------------------------------------------ */

static double divisor(const struct options *o, const double *w, size_t K)
{
    double sum = 0;
    for (size_t k = 0; k < K; k++)
        sum += w[k];
    if (o->normalize != BY_ALL)
        return 1;
    if (o->floor > 0)
        return sum > o->floor ? sum : o->floor;
    return sum;
}

/* x[k] and w[k] over n elements in which no weight changes; the result goes to x[0] */
static int join(const struct options *o, enum kind kind, float *const *x, const double *w, size_t K,
                size_t n, struct error *e)
{
    if (o->normalize == BY_AGREEING) {
        kern_disjoint_mean(x, w, K, o->floor, x[0], n);
        return 0;
    }
    double d = divisor(o, w, K);
    if (fabs(d) < 1e-8 && kind != KIND_TASK_VECTORS)
        return error_set(e, "the weights add up to %g; --normalize=all cannot divide by that", d);
    kern_weighted_sum(x, w, K, fabs(d) < 1e-8 ? 1 : d, x[0], n);
    return 0;
}

/* Over stretches in which no weight changes. */
static int join_floats(const struct job *job, struct block *b, struct error *e)
{
    const struct options *o = job->stage->options;
    size_t K = b->n_vectors, n;
    double *w = mem_alloc(K, sizeof *w);
    float **x = mem_alloc(K, sizeof *x);
    int failed = 0;
    for (size_t i = 0; i < b->n && !failed; i += n) {
        n = tensor_weights(job->in, b->first + i, b->n - i, w);
        for (size_t k = 0; k < K; k++)
            x[k] = block_x(b, k) + i;
        failed = join(o, job->stage->in->kind, x, w, K, n, e);
    }
    free(w);
    free(x);
    return failed;
}

static int join_bytes(const struct job *job, struct block *b, struct error *e)
{
    const struct tensor *t = job->in;
    size_t size = b->n * dtype_bits(t->vectors[0].dtype) / 8;
    for (size_t k = 1; k < b->n_vectors; k++)
        if (memcmp(b->data[0], b->data[k], size) != 0)
            return error_set(e, "tensor %s is %s and differs between the models; pick one of them",
                             t->name, dtype_name(t->vectors[0].dtype));
    return 0;
}

static int transform(const struct job *job, struct block *b, struct error *e)
{
    int failed = tensor_is_float(job->in) ? join_floats(job, b, e) : join_bytes(job, b, e);
    b->n_vectors = 1;
    return failed;
}

/* ---- the manifest ---------------------------------------------------------------------------- */

static int check_dtypes(const struct tensor *t, struct error *e)
{
    enum dtype first = t->vectors[0].dtype;
    for (size_t k = 0; k < t->n_vectors && !tensor_is_float(t); k++) {
        enum dtype d = t->vectors[k].dtype;
        if (d != first)
            return error_set(e, "tensor %s is %s in one model and %s in another", t->name,
                             dtype_name(first), dtype_name(d));
    }
    return 0;
}

static int open_combine(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    if (o->floor > 0 && o->normalize < 0)
        return error_set(e, "--floor needs --normalize");
    long merged = header_add_model(h, o->name, "merged", e);
    if (merged < 0)
        return -1;
    for (size_t i = 0; i < h->n_tensors; i++) {
        struct tensor *t = &h->tensors[i];
        if (check_dtypes(t, e))
            return -1;
        enum dtype d = tensor_is_float(t) ? DTYPE_F32 : t->vectors[0].dtype;
        t->vectors[0] = vector_plain((size_t)merged, NULL, d, t->vectors[0].stored);
        t->n_vectors = 1;
    }
    return 0;
}

static int begin(struct job *job, struct error *e)
{
    for (size_t k = 0; k < job->in->n_vectors && !tensor_is_float(job->in); k++)
        if (vector_is_weighted(&job->in->vectors[k]))
            return error_set(e, "tensor %s is %s and cannot be weighed", job->in->name,
                             dtype_name(job->in->vectors[k].dtype));
    return PLAN_TRANSFORM;
}

const struct filter filter_combine = {
    .name = "combine",
    .summary = "Join the vectors into their weighted sum",
    .notes = "  tv-extract base math code | weigh math=0.6 code=0.4 | combine |\n"
             "      pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS | KIND_WEIGHTS,
    .role = ROLE_FILTER,
    .open = open_combine,
    .begin = begin,
    .transform = transform,
};
