/* swudi: remove the interference between task vectors from each of them (SWUDI, SWUDI-A)
 *
 *     C = sum_k d_k' d_k / |d_k|^2 = Q diag(lam) Q'          lam <- max(lam, 1e-8)
 *     f_i = 1 - exp(-lam_i T)                                0 for all but the R largest lam_i
 *     d_k <- c (d_k - d_k Q f Q') + d_k (d_k' d_k / |d_k|^2) Q (f / lam) Q'
 *
 * for each matrix d_k (m, n) of expert k. With c = 1 (--init sum) the sum of the results is SWUDI's
 * merged task vector, a closed form of the limit that WUDI approaches by gradient descent; so
 * `combine` after swudi is the published method, and the cleaned vectors can be weighted first.
 * Tensors that are not matrices, embeddings and heads: d_k / K. SWUDI: arXiv 2606.07289.
 *
 *     tv-extract base math code chat | swudi | combine | pack --base base merged/
 *     ... | swudi --rank participation-sqrt --filter none | combine | ...            SWUDI-A
 *
 * The number of directions R: --rank (rank_rule.h). By default they hold 85 % of the sum of all
 * lam; the published code takes 65 % of their number (--rank ratio), and calls SWUDI-A aswudi. An
 * expert that did not change the matrix is left out of C; if none did, the result is 0. Where
 * K m < n, the eigenvectors of C come from the smaller Gram matrix of the rows of all d_k.
 */
#include "matrix.h"
#include "matrix_filter.h"
#include "normal_matrix.h"
#include "rank_rule.h"
#include "stage.h"

#include <stdlib.h>

struct options {
    int rank, filter, init, matrices;
    double fraction, time;
};

enum { FILTER_EXPONENTIAL, FILTER_NONE };
enum { INIT_SUM, INIT_MEAN, INIT_ZERO };

#define FIELD(name) offsetof(struct options, name)
static const struct option_row rows[] = {
    {"rank", OPTION_CHOICE, FIELD(rank), "RULE",
     .help = "how many eigenvectors to use: cumvar (default), ratio, all, participation-sqrt, "
             "participation, stable-rank, entropy or gavish-donoho",
     .choices = RANK_RULE_CHOICES, .default_value = "cumvar"},
    {"fraction", OPTION_NUMBER, FIELD(fraction), "F",
     .help = "fraction of the eigenvalues' sum for cumvar (default 0.85), of their number for "
             "ratio (default 0.65)",
     .range = {.low = 0, .high = 1, .low_open = true}},
    {"filter", OPTION_CHOICE, FIELD(filter), "exponential|none",
     .help = "f for the eigenvectors that are used: 1 - exp(-lam T) (default), or 1",
     .choices = "exponential|none", .default_value = "exponential"},
    {"time", OPTION_NUMBER, FIELD(time), "T", .help = "T of the filter exponential (default 300)",
     .range = {.low = 0, .high = INFINITY, .low_open = true, .high_open = true},
     .default_value = "300"},
    {"init", OPTION_CHOICE, FIELD(init), "sum|mean|zero",
     .help = "what the filter starts from, c: 1 (sum, default), 1 / K (mean) or 0 (zero)",
     .choices = "sum|mean|zero", .default_value = "sum"},
    MATRICES_ROW(options, matrices),
    {0}};

#define MIN_EIGENVALUE 1e-8

/* ---- the eigenvectors of C ------------------------------------------------------------------- */

/* C's eigenvalues are at least MIN_EIGENVALUE, and its eigenvectors the R largest ones, or less:
 * those that are missing are orthogonal to all d_k. */
static int decompose(const struct matrix_filter *f, const double *l, const struct options *o,
                     struct normal_matrix *c, struct error *e)
{
    for (size_t k = 0; k < f->n_vectors; k++) {
        if (l[k] == 0)
            continue;
        double *d = matrix_filter_widen(f, k);
        normal_matrix_add(c, f->rows, d, l[k]);
        free(d);
    }
    if (normal_matrix_decompose(c, e))
        return -1;
    for (size_t i = 0; i < c->n; i++)
        c->eigenvalues[i] = fmax(c->eigenvalues[i], MIN_EIGENVALUE);
    enum rank_rule rule = (enum rank_rule)o->rank;
    double fraction = o->fraction > 0 ? o->fraction : rank_rule_default_fraction(rule);
    size_t longer = f->rows > f->columns ? f->rows : f->columns;
    double aspect = (double)matrix_filter_min_side(f) / (double)longer;
    normal_matrix_keep_largest(c, rank_rule_count(rule, fraction, c->eigenvalues, c->n, aspect));
    return 0;
}

/* ---- the method ------------------------------------------------------------------------------ */

/* f_i and f_i / lam_i of the eigenvectors: (count) */
static void compute_filter(const struct options *o, const struct normal_matrix *c, double *filter,
                           double *quotient)
{
    for (size_t i = 0; i < c->count; i++) {
        double lam = c->eigenvalues[c->n - c->count + i];
        filter[i] = o->filter == FILTER_NONE
                        ? 1
                        : (double)-expm1l(-(long double)lam * (long double)o->time);
        quotient[i] = filter[i] / lam;
    }
}

/* d d' Y / l for Y = d Q' (m, r); through d d' if that is smaller. */
static void multiply_by_gram(size_t m, size_t n, size_t r, double l, const double *d,
                             const double *Y, double *result)
{
    double *product = mem_alloc_aligned((m < n ? m * m : r * n) * sizeof *product);
    if (m < n) {
        matrix_gram_of_rows(m, n, 1 / l, d, 0, product);
        matrix_nn(m, r, m, 1, product, Y, 0, result);
    } else {
        matrix_tn(r, n, m, 1 / l, Y, d, 0, product);
        matrix_nt(m, r, n, 1, d, product, 0, result);
    }
    free(product);
}

/* What is the same for all vectors of a matrix. */
struct cleaning {
    double scale; /* of the start, c */
    size_t r;
    const double *Q;                 /* (r, n) */
    const double *filter, *quotient; /* (r): f, f / lam */
};

/* d_k <- c d_k - (c d_k Q f - d_k d_k' d_k Q (f / lam) / l) Q' */
static void clean_vector(struct matrix_filter *f, size_t k, double l, const struct cleaning *c)
{
    size_t m = f->rows, n = f->columns, r = c->r;
    double *d = matrix_filter_widen(f, k);
    double *Y = mem_alloc_aligned(m * r * sizeof *Y), *G = mem_alloc_aligned(m * r * sizeof *G);
    matrix_nt(m, r, n, 1, d, c->Q, 0, Y);
    multiply_by_gram(m, n, r, l, d, Y, G);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < r; j++)
            Y[i * r + j] = c->scale * Y[i * r + j] * c->filter[j] - G[i * r + j] * c->quotient[j];
    matrix_nn(m, n, r, -1, Y, c->Q, c->scale, d);
    matrix_filter_set(f, k, d);
    free(d);
    free(Y);
    free(G);
}

static void clean_vectors(struct matrix_filter *f, const double *l, const struct options *o,
                          const struct normal_matrix *normal)
{
    double *filter = mem_alloc(normal->count, sizeof *filter);
    double *quotient = mem_alloc(normal->count, sizeof *quotient);
    const struct cleaning c = {
        .scale = o->init == INIT_SUM    ? 1
                 : o->init == INIT_MEAN ? 1 / (double)f->n_vectors
                                        : 0,
        .r = normal->count,
        .Q = normal->eigenvectors,
        .filter = filter,
        .quotient = quotient,
    };
    compute_filter(o, normal, filter, quotient);
    for (size_t k = 0; k < f->n_vectors; k++)
        if (l[k] > 0)
            clean_vector(f, k, l[k], &c);
    free(filter);
    free(quotient);
}

/* |d_k|^2 (K); returns how many are not 0. */
static size_t compute_squared_norms(const struct matrix_filter *f, double *l)
{
    size_t changed = 0;
    for (size_t k = 0; k < f->n_vectors; k++) {
        l[k] = matrix_filter_squared_norm(f, k);
        changed += l[k] > 0;
    }
    return changed;
}

static int clean_matrix(struct matrix_filter *f, const void *options, struct error *e)
{
    const struct options *o = options;
    double *l = mem_alloc(f->n_vectors, sizeof *l);
    size_t changed = compute_squared_norms(f, l);
    int failed = 0;
    if (changed) {
        struct normal_matrix c;
        normal_matrix_init(&c, f->columns, changed * f->rows);
        failed = decompose(f, l, o, &c, e);
        if (!failed)
            clean_vectors(f, l, o, &c);
        normal_matrix_free(&c);
    }
    free(l);
    return failed;
}

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    if (job->state)
        matrix_filter_copy_result(job->state, b, b->n_vectors);
    else
        for (size_t k = 0; k < b->n_vectors; k++)
            vector_math_scale(block_floats(b, k), 1 / (double)b->n_vectors, b->n);
    return 0;
}

/* ---- open, begin, decide --------------------------------------------------------------------- */

static size_t count_eigen_rows(size_t m, size_t n, size_t K)
{
    return normal_matrix_eigen_rows(n, K * m);
}

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    return o->fraction > 0 && o->rank != RANK_CUMVAR && o->rank != RANK_RATIO
               ? error_set(e, "--fraction needs --rank cumvar or --rank ratio")
               : 0;
}

static int open_swudi(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    return matrix_filter_open(s, h, o->matrices, count_eigen_rows, e);
}

static uint64_t tensor_memory(const struct stage *s, const struct tensor *t)
{
    const struct options *o = s->options;
    if (!matrix_filter_applies(o->matrices, t))
        return 0;
    double of_vector = 3 * (double)tensor_elements(t);
    return matrix_filter_memory(
        t, of_vector + normal_matrix_memory(t->shape[1], t->n_vectors * t->shape[0]));
}

static int begin_tensor(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    for (size_t k = 0; k < job->in->n_vectors; k++) {
        const struct vector *v = &job->in->vectors[k];
        if (vector_is_weighted(v))
            return error_set(e,
                             "tensor %s of %s has a weight, which this method does not use: put "
                             "weigh after swudi",
                             job->in->name, job->stage->in->models[v->model].name);
    }
    if (!tensor_is_float(job->in))
        return PLAN_PASS_THROUGH;
    for (size_t k = 0; k < job->out->n_vectors; k++)
        vector_set_attributes(&job->out->vectors[k], NAN, NAN);
    return matrix_filter_applies(o->matrices, job->in) ? matrix_filter_begin(job) : PLAN_TRANSFORM;
}

static int end_round(struct job *job, struct error *e)
{
    return matrix_filter_compute(job, clean_matrix, e);
}

const struct filter filter_swudi = {
    .name = "swudi",
    .summary = "Remove the interference between task vectors from each of them (SWUDI)",
    .step = STEP_RESOLVE,
    .notes = "  tv-extract base math code chat | swudi | combine | pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .scope = SCOPE_TENSOR,
    .check_options = check_options,
    .open = open_swudi,
    .begin_tensor = begin_tensor,
    .observe_block = matrix_filter_observe,
    .accumulate_block = matrix_filter_accumulate,
    .end_round = end_round,
    .transform_block = transform_block,
    .end_tensor = matrix_filter_end,
    .tensor_memory = tensor_memory,
};
