/* karcher: the Karcher mean of the vectors' directions, with the mean of their lengths
 *
 *     n_k = |x_k|,  u_k = x_k / n_k
 *     repeat:  g = sum_k a_k th_k / sin th_k (u_k - cos th_k u),   th_k = angle between u and u_k
 *              u = cos|g| u + sin|g| g / |g|          until |g| < tol, or --max-iter times
 *     y = (mean of n_k) u                               Karcher 1977, doi 10.1002/cpa.3160300502
 *
 * x_k is a whole tensor; u starts as the mean of the u_k. Vectors with n_k <= tol are left out, and
 * those with th_k < tol are left out of g. a_k are the weights, divided by their sum (1/K in
 * mergekit). A single vector is not changed.
 *
 * u is computed as coefficients of the x_k, u = sum_k u[k] x_k, for which the inner products of the
 * x_k suffice.
 *
 *     unpack math code chat | karcher | pack --like math merged/
 */
#include "filter.h"
#include "gram_join.h"
#include "stage_rules.h"

#include <stdlib.h>
#include <string.h>

struct options {
    struct tensor_rules max_iter, tol;
    const char *name;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"max-iter", OPTION_RULES, FIELD(max_iter), "N",
     .help = "maximum number of iterations; 0: the normalized mean (default 10), or rules such as "
             "/*mlp*=20 (repeatable)",
     .range = {.high = 1e9}, .whole = true, .per_tensor = true},
    {"tol", OPTION_RULES, FIELD(tol), "T",
     .help = "norms, angles and steps below T count as 0 (default 1e-5), or rules such as "
             "/*mlp*=1e-6 (repeatable)",
     .range = {0, INFINITY, .low_open = true, .high_open = true}, .per_tensor = true},
    JOIN_NAME_ROW(options, name),
    {0}};
#undef FIELD

#define DEFAULT_MAX_ITER 10
#define DEFAULT_TOL      1e-5

/* A sine at the rounding of F32: from u to -u no direction is the shortest. */
#define OPPOSITE 1e-7

/* The vectors as points on the sphere. */
struct points {
    double *norm; /* (K) n_k */
    double *a;    /* (K) weights that add up to 1; 0: the vector is left out */
    double tol;
};

/* Divides u, as coefficients, by its length; -1 if that is below tol. */
static int normalize_to_unit_length(const struct gram_join *g, double *u, double tol)
{
    double length = gram_join_norm_of_sum(g, u);
    if (length < tol || length == 0)
        return -1;
    for (size_t k = 0; k < g->n_vectors; k++)
        u[k] /= length;
    return 0;
}

/* u = the normalized mean of the u_k; the first of them if the mean vanishes. */
static void set_start_point(const struct gram_join *g, const struct points *p, double *u)
{
    for (size_t k = 0; k < g->n_vectors; k++)
        u[k] = p->a[k] > 0 ? p->a[k] / p->norm[k] : 0;
    if (normalize_to_unit_length(g, u, p->tol) == 0)
        return;
    memset(u, 0, g->n_vectors * sizeof *u);
    for (size_t k = 0; k < g->n_vectors; k++)
        if (p->a[k] > 0) {
            u[k] = 1 / p->norm[k];
            return;
        }
}

/* step = g, the mean of the tangent vectors at u that lead to the u_k; all as coefficients, (K) */
static void compute_mean_tangent_step(const struct gram_join *g, const struct points *p,
                                      const double *u, double *step)
{
    double along_u = 0;
    memset(step, 0, g->n_vectors * sizeof *step);
    for (size_t k = 0; k < g->n_vectors; k++) {
        if (p->a[k] <= 0)
            continue;
        double cosine = gram_join_dot_with_sum(g, k, u) / p->norm[k];
        cosine = cosine < -1 ? -1 : cosine > 1 ? 1 : cosine;
        long double angle = acosl(cosine);
        if (angle < p->tol || (cosine < 0 && sinl(angle) < OPPOSITE))
            continue;
        double length = (double)(p->a[k] * angle / sinl(angle));
        step[k] = length / p->norm[k];
        along_u += length * cosine;
    }
    for (size_t k = 0; k < g->n_vectors; k++)
        step[k] -= along_u * u[k];
}

/* u = the Karcher mean as coefficients, (K); `step`: (K), a work area. */
static void find_karcher_mean(const struct gram_join *g, const struct points *p, uint64_t max_iter,
                              double *u, double *step)
{
    set_start_point(g, p, u);
    for (uint64_t i = 0; i < max_iter; i++) {
        compute_mean_tangent_step(g, p, u, step);
        double length = gram_join_norm_of_sum(g, step);
        if (length < p->tol)
            return;
        for (size_t k = 0; k < g->n_vectors; k++)
            u[k] = (double)cosl(length) * u[k] + (double)sinl(length) / length * step[k];
        normalize_to_unit_length(g, u, 0);
    }
}

/* Fills in p and returns the mean of the n_k; 0 if all vectors are left out. */
static double set_normalized_points(const struct gram_join *g, const struct tensor *t,
                                    struct points *p)
{
    double all = 0, used = 0, length = 0; /* sums of w, w of the vectors used, w n_k */
    for (size_t k = 0; k < g->n_vectors; k++) {
        double w = t->vectors[k].weights[0];
        p->norm[k] = gram_join_vector_norm(g, k);
        p->a[k] = p->norm[k] > p->tol ? w : 0;
        all += w;
        used += p->a[k];
        length += w * p->norm[k];
    }
    for (size_t k = 0; k < g->n_vectors && used > 0; k++)
        p->a[k] /= used;
    return used > 0 ? length / all : 0;
}

static int check_weights_not_negative(const struct job *job, struct error *e)
{
    const struct tensor *t = job->in;
    double sum = 0, divisor;
    for (size_t k = 0; k < t->n_vectors; k++) {
        double w = t->vectors[k].weights[0];
        sum += w;
        if (w < 0)
            return error_set(e,
                             "tensor %s of %s has the weight %g; expected a weight of at least 0",
                             t->name, job->stage->in->models[t->vectors[k].model].name, w);
    }
    return join_mean_divisor(job->stage->in->kind, sum, "a mean", &divisor, e);
}

static int end_round(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    struct gram_join *g = job->state;
    if (!g || g->n_vectors == 1)
        return VERDICT_DONE;
    double max_iter = stage_rules_tensor_value(&o->max_iter, job->in, DEFAULT_MAX_ITER);
    if (check_weights_not_negative(job, e))
        return -1;
    double *work = mem_alloc(g->n_vectors, 3 * sizeof *work);
    struct points p = {.norm = work,
                       .a = work + g->n_vectors,
                       .tol = stage_rules_tensor_value(&o->tol, job->in, DEFAULT_TOL)};
    double length = set_normalized_points(g, job->in, &p);
    if (length > 0)
        find_karcher_mean(g, &p, (uint64_t)max_iter, g->coefficients, work + 2 * g->n_vectors);
    for (size_t k = 0; k < g->n_vectors; k++)
        g->coefficients[k] *= length;
    free(work);
    return VERDICT_DONE;
}

static int open_karcher(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    return join_declare_merged_model(h, o->name, 1, GRAM_JOIN_MAX, e);
}

static int begin_tensor(struct job *job, struct error *e)
{
    return gram_join_begin(job, JOIN_VECTOR_WEIGHTS, e);
}

const struct filter filter_karcher = {
    .name = "karcher",
    .summary = "Join vectors into the Karcher mean of their directions, with their mean norm",
    .step = STEP_JOIN,
    .notes = "  unpack math code chat | karcher | pack --like math merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS | KIND_WEIGHTS,
    .role = ROLE_FILTER,
    .open = open_karcher,
    .scope = SCOPE_TENSOR,
    .begin_tensor = begin_tensor,
    .observe_block = gram_join_observe,
    .accumulate_block = gram_join_accumulate,
    .end_round = end_round,
    .transform_block = gram_join_transform,
};
