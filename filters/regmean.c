/* regmean: average the linear maps so that they agree on the models' inputs (RegMean)
 *
 *     Y = (sum_k X_k G_k) (sum_k G_k)^-1           G_k = R g_k + (1 - R) diag(g_k)      (--reduce
 * R)
 *
 * X_k (m, n) is model k's matrix, g_k (n, n) the mean of x x^T over the inputs x of its linear map.
 * Y minimises sum_k tr((Y - X_k) G_k (Y - X_k)^T), with R = 1 the squared distance from all outputs
 * X_k x. Works on task vectors and on weights, with the same result. RegMean: Jin et al. 2023,
 * arXiv 2212.09849, equation 2.
 *
 *     forward math --samples math.jsonl --gram > math.gram
 *     forward code --samples code.jsonl --gram > code.gram
 *     tv-extract base math code | regmean --gram math=math.gram --gram code=code.gram |
 *         pack --base base merged/
 *
 * Where an input is always 0 (a zero on the diagonal of the sum), Y has the mean of the columns.
 * Tensors without a Gram matrix are averaged. Sums, Cholesky factor and solution are in double.
 */
#include "filter.h"
#include "join.h"
#include "matrix.h"
#include "model_statistics.h"
#include "parallel_for.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct options {
    struct string_list grams;
    double reduce;
    const char *name;
};

static const struct option_row rows[] = {
    {"gram", OPTION_MODEL_FILES, offsetof(struct options, grams), "MODEL=FILE",
     .help =
         "the model's Gram matrices, as forward --gram writes them: a file with a tensor of the "
         "same name for each weight; once per model",
     .required = true},
    {"reduce", OPTION_NUMBER, offsetof(struct options, reduce), "R",
     .help = "multiply what is off the diagonal of the Gram matrices by R, 0 to 1 (default 0.9)",
     .range = {.high = 1}, .default_value = "0.9"},
    JOIN_NAME_ROW(options, name),
    {0}};

#define PANEL     64    /* rows of Y that are computed together */
#define MIN_PIVOT 1e-13 /* of the Cholesky factor, squared, in units of the diagonal */
#define ASYMMETRY 1e-3  /* of a Gram matrix, in units of sqrt(g_ii g_jj) */

/* One floating tensor. */
struct state {
    bool has_grams;
    double *ones; /* [K] */
    size_t m, n;
    float **x;       /* [K] (m, n); later x[0] is Y */
    double *sum, *G; /* (n, n): sum of the G_k, later its Cholesky factor; one of them */
    double *Y;       /* (m, n) */
    double *squares; /* (n): the diagonal of the sum; 0 for an input that is always 0 */
};

/* ---- Gram matrices --------------------------------------------------------------------------- */

static int set_gram_error(const struct job *job, size_t k, const char *what, size_t i, size_t j,
                          struct error *e)
{
    const struct model_statistics *m = job->stage->data;
    return error_set(e, "the Gram matrix of tensor %s in %s %s in row %zu, column %zu",
                     job->in->name, model_statistics_file(m, job->in->vectors[k].model), what, i,
                     j);
}

static int check_gram_matrix(const struct job *job, size_t k, const double *g, size_t n,
                             struct error *e)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double a = g[i * n + j], b = g[j * n + i];
            if (!isfinite(a) || !isfinite(b))
                return set_gram_error(job, k, "is not finite", i, j, e);
            if (i == j && a < 0)
                return set_gram_error(job, k, "is negative", i, j, e);
            if (fabs(a - b) > ASYMMETRY * sqrt(fabs(g[i * n + i] * g[j * n + j])))
                return set_gram_error(job, k, "is not symmetric", i, j, e);
        }
    return 0;
}

/* G_k, and adds it to the sum. */
static int add_gram_matrix(const struct job *job, size_t k, struct error *e)
{
    const struct options *o = job->stage->options;
    struct state *st = job->state;
    size_t n = st->n;
    model_statistics_read_f64(job->stage->data, job->in, k, 0, n * n, st->G);
    if (check_gram_matrix(job, k, st->G, n, e))
        return -1;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            st->G[i * n + j] *= i == j ? 1 : o->reduce;
            st->sum[i * n + j] += st->G[i * n + j];
        }
    return 0;
}

/* ---- the method ------------------------------------------------------------------------------ */

/* The rows of Y from `first` on that are computed together. */
struct panel {
    size_t first, rows;
};

static struct panel panel_of_rows(const struct state *st, size_t i)
{
    size_t first = i * PANEL;
    return (struct panel){first, st->m - first < PANEL ? st->m - first : PANEL};
}

static void for_all_panels(struct state *st, void (*work)(void *, size_t, size_t), void *context)
{
    parallel_for((st->m + PANEL - 1) / PANEL, PANEL * st->n * st->n, work, context);
}

/* X_k G_k is added to Y. */
struct product {
    struct state *state;
    const float *x; /* X_k */
};

static void add_product_panel(void *context, size_t i, size_t thread)
{
    const struct product *p = context;
    const struct state *st = p->state;
    struct panel r = panel_of_rows(st, i);
    double *x = mem_alloc(r.rows * st->n, sizeof *x);
    for (size_t j = 0; j < r.rows * st->n; j++)
        x[j] = (double)p->x[r.first * st->n + j];
    matrix_nn(r.rows, st->n, st->n, 1, x, st->G, 1, st->Y + r.first * st->n);
    free(x);
}

/* sum_k X_k G_k, to Y, and sum_k G_k */
static int sum_products(const struct job *job, struct error *e)
{
    struct state *st = job->state;
    for (size_t k = 0; k < job->in->n_vectors; k++) {
        if (add_gram_matrix(job, k, e))
            return -1;
        for_all_panels(st, add_product_panel, &(struct product){st, st->x[k]});
    }
    return 0;
}

static void solve_panel(void *context, size_t i, size_t thread)
{
    struct state *st = context;
    struct panel r = panel_of_rows(st, i);
    matrix_cholesky_solve(r.rows, st->n, st->sum, st->Y + r.first * st->n);
}

/* The Cholesky factor of the sum, in its place. Inputs that are always 0 get a 1 on the diagonal,
 * so that the sum has an inverse. -1 if it has none, up to rounding. */
static int factorize_sum(struct state *st)
{
    size_t n = st->n;
    for (size_t j = 0; j < n; j++) {
        double *diagonal = &st->sum[j * n + j];
        st->squares[j] = *diagonal;
        *diagonal = *diagonal == 0 ? 1 : *diagonal;
    }
    int failed = matrix_cholesky(n, st->sum);
    for (size_t j = 0; j < n && !failed; j++) {
        double pivot = st->sum[j * n + j];
        failed = !(pivot * pivot > MIN_PIVOT * st->squares[j]);
    }
    return failed ? -1 : 0;
}

static double compute_mean(const struct state *st, size_t K, size_t i)
{
    double sum = 0;
    for (size_t k = 0; k < K; k++)
        sum += (double)st->x[k][i];
    return sum / (double)K;
}

static int compute_result(const struct job *job, struct error *e)
{
    struct state *st = job->state;
    size_t K = job->in->n_vectors;
    if (sum_products(job, e))
        return -1;
    if (factorize_sum(st))
        return error_set(e,
                         "the sum of the Gram matrices of tensor %s is not positive definite; use "
                         "more samples or a smaller --reduce",
                         job->in->name);
    for_all_panels(st, solve_panel, st);
    for (size_t i = 0; i < st->m * st->n; i++)
        st->x[0][i] = (float)(st->squares[i % st->n] == 0 ? compute_mean(st, K, i) : st->Y[i]);
    return 0;
}

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    const struct state *st = job->state;
    if (!st)
        return join_require_identical(job->in, b, e);
    if (st->has_grams)
        memcpy(b->data[0], st->x[0] + b->first, b->n * sizeof(float));
    else
        vector_math_weighted_sum((float *const *)b->data, st->ones, b->n_vectors,
                                 (double)b->n_vectors, b->data[0], b->n);
    b->n_vectors = 1;
    return 0;
}

/* ---- the round: the vectors are copied ------------------------------------------------------- */

/* Each block is copied to its own place, so that no work area is needed. */
static int observe_block(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct state *st = job->state;
    for (size_t k = 0; k < b->n_vectors; k++)
        memcpy(st->x[k] + b->first, b->data[k], b->n * sizeof(float));
    return 0;
}

static void allocate_matrices(struct state *st, size_t K)
{
    for (size_t k = 0; k < K; k++)
        st->x[k] = mem_alloc_aligned(st->m * st->n * sizeof(float));
}

static void free_work_matrices(struct state *st)
{
    free(st->sum);
    free(st->G);
    free(st->Y);
    free(st->squares);
    st->sum = st->G = st->Y = st->squares = NULL;
}

static int end_round(struct job *job, struct error *e)
{
    struct state *st = job->state;
    if (!st || !st->has_grams)
        return VERDICT_DONE;
    st->sum = mem_alloc(st->n * st->n, sizeof *st->sum);
    st->G = mem_alloc(st->n * st->n, sizeof *st->G);
    st->Y = mem_alloc(st->m * st->n, sizeof *st->Y);
    st->squares = mem_alloc(st->n, sizeof *st->squares);
    int failed = compute_result(job, e);
    free_work_matrices(st);
    return failed ? -1 : VERDICT_DONE;
}

/* ---- begin and end --------------------------------------------------------------------------- */

static bool is_matrix(const struct tensor *t)
{
    return tensor_is_float(t) && t->rank == 2 && tensor_elements(t) > 0;
}

/* 1: the tensor is a matrix and all models have its Gram matrix; 0: no model has; -1: error. */
static int find_gram_matrices(const struct model_statistics *m, const struct tensor *t,
                              struct error *e)
{
    return is_matrix(t) ? model_statistics_find(m, t, 2, (uint64_t[]){t->shape[1], t->shape[1]}, e)
                        : 0;
}

static int begin_tensor(struct job *job, struct error *e)
{
    const struct tensor *t = job->in;
    if (join_use_weights(job, JOIN_NO_WEIGHTS, e))
        return -1;
    if (!tensor_is_float(t) || tensor_elements(t) == 0)
        return PLAN_TRANSFORM;
    int found = find_gram_matrices(job->stage->data, t, e);
    if (found < 0)
        return -1;
    struct state *st = job->state = arena_alloc(job->arena, 1, sizeof *st);
    st->has_grams = found;
    st->ones = arena_alloc(job->arena, t->n_vectors, sizeof *st->ones);
    for (size_t k = 0; k < t->n_vectors; k++)
        st->ones[k] = 1;
    if (!st->has_grams)
        return PLAN_TRANSFORM;
    st->m = t->shape[0];
    st->n = t->shape[1];
    st->x = arena_alloc(job->arena, t->n_vectors, sizeof *st->x);
    allocate_matrices(st, t->n_vectors);
    return PLAN_OBSERVE;
}

static int end_tensor(struct job *job, bool ok, struct error *e)
{
    struct state *st = job->state;
    for (size_t k = 0; st && st->has_grams && k < job->in->n_vectors; k++)
        free(st->x[k]);
    return 0;
}

/* ---- open and close -------------------------------------------------------------------------- */

/* Checks all matrices before anything is computed. */
static int check_gram_matrices(const struct model_statistics *m, const struct header *h,
                               struct error *e)
{
    size_t n_matrices = 0, n_found = 0;
    for (size_t i = 0; i < h->n_tensors; i++) {
        int found = find_gram_matrices(m, &h->tensors[i], e);
        if (found < 0)
            return -1;
        n_matrices += is_matrix(&h->tensors[i]);
        n_found += (size_t)found;
    }
    return n_matrices == 0 || n_found > 0
               ? 0
               : error_set(e, "no file of --gram has a tensor of the stream");
}

static int open_regmean(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    parallel_set_threads(s->common.threads);
    if (matrix_init(e))
        return -1;
    s->data = model_statistics_open(s, "gram", &o->grams, h, e);
    return !s->data || check_gram_matrices(s->data, h, e)
               ? -1
               : join_declare_merged_model(h, o->name, 1, SIZE_MAX, e);
}

static int close_regmean(struct stage *s, bool ok, struct error *e)
{
    int failed = ok ? model_statistics_check_unchanged(s->data, e) : 0;
    model_statistics_close(s->data);
    return failed;
}

const struct filter filter_regmean = {
    .name = "regmean",
    .summary = "Average linear maps so that they agree on the models' inputs (RegMean)",
    .notes = "  forward math --samples math.jsonl --gram > math.gram\n"
             "  forward code --samples code.jsonl --gram > code.gram\n"
             "  tv-extract base math code |\n"
             "      regmean --gram math=math.gram --gram code=code.gram |\n"
             "      pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS | KIND_WEIGHTS,
    .role = ROLE_FILTER,
    .scope = SCOPE_TENSOR,
    .open = open_regmean,
    .begin_tensor = begin_tensor,
    .observe_block = observe_block,
    .end_round = end_round,
    .transform_block = transform_block,
    .end_tensor = end_tensor,
    .close = close_regmean,
};
