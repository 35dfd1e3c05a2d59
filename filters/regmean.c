/* regmean: average the linear maps so that they agree on the models' inputs (RegMean)
 *
 *     Y = (sum_k X_k G_k) (sum_k G_k)^-1           G_k = R g_k + (1 - R) diag(g_k)   (--reduce R)
 *
 * X_k (m, n) is model k's matrix, g_k (n, n) the mean of x x^T over the inputs x of its linear map.
 * Y minimizes sum_k tr((Y - X_k) G_k (Y - X_k)^T), with R = 1 the squared distance from all outputs
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
#include "matrix_filter.h"
#include "model_statistics.h"
#include "openblas.h"
#include "parallel_for.h"

#include <math.h>
#include <stdlib.h>

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

/* The computation of one matrix. */
struct regression {
    const struct job *job;
    struct matrix_filter *f;
    size_t m, n;
    double *sum, *G; /* (n, n): sum of the G_k, later its Cholesky factor; one of them */
    double *Y;       /* (m, n) */
    double *squares; /* (n): the diagonal of the sum; 0 for an input that is always 0 */
};

/* ---- Gram matrices --------------------------------------------------------------------------- */

static int set_gram_error(const struct regression *r, size_t k, const char *what, size_t i,
                          size_t j, struct error *e)
{
    const struct model_statistics *m = r->job->stage->data;
    const struct tensor *t = r->job->in;
    return error_set(e, "the Gram matrix of tensor %s in %s %s in row %zu, column %zu", t->name,
                     model_statistics_file(m, t->vectors[k].model), what, i, j);
}

static int check_gram_matrix(const struct regression *r, size_t k, struct error *e)
{
    const double *g = r->G;
    size_t n = r->n;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double a = g[i * n + j], b = g[j * n + i];
            if (!isfinite(a) || !isfinite(b))
                return set_gram_error(r, k, "is not finite", i, j, e);
            if (i == j && a < 0)
                return set_gram_error(r, k, "is negative", i, j, e);
            if (fabs(a - b) > ASYMMETRY * sqrt(fabs(g[i * n + i] * g[j * n + j])))
                return set_gram_error(r, k, "is not symmetric", i, j, e);
        }
    return 0;
}

/* G_k, and adds it to the sum. */
static int add_gram_matrix(struct regression *r, size_t k, struct error *e)
{
    const struct options *o = r->job->stage->options;
    size_t n = r->n;
    model_statistics_read_f64(r->job->stage->data, r->job->in, k, 0, n * n, r->G);
    if (check_gram_matrix(r, k, e))
        return -1;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            r->G[i * n + j] *= i == j ? 1 : o->reduce;
            r->sum[i * n + j] += r->G[i * n + j];
        }
    return 0;
}

/* ---- the method ------------------------------------------------------------------------------ */

/* The rows of Y from `first` on that are computed together. */
struct panel {
    size_t first, rows;
};

static struct panel panel_of_rows(const struct regression *r, size_t i)
{
    size_t first = i * PANEL;
    return (struct panel){first, r->m - first < PANEL ? r->m - first : PANEL};
}

static void for_all_panels(struct regression *r, void (*work)(void *, size_t, size_t),
                           void *context)
{
    parallel_for((r->m + PANEL - 1) / PANEL, PANEL * r->n * r->n, work, context);
}

/* X_k G_k is added to Y. */
struct product {
    struct regression *r;
    const float *x; /* X_k */
};

static void add_product_panel(void *context, size_t i, size_t thread)
{
    const struct product *product = context;
    const struct regression *r = product->r;
    struct panel p = panel_of_rows(r, i);
    double *x = mem_alloc(p.rows * r->n, sizeof *x);
    for (size_t j = 0; j < p.rows * r->n; j++)
        x[j] = (double)product->x[p.first * r->n + j];
    matrix_nn(p.rows, r->n, r->n, 1, x, r->G, 1, r->Y + p.first * r->n);
    free(x);
}

/* sum_k X_k G_k, to Y, and sum_k G_k */
static int sum_products(struct regression *r, struct error *e)
{
    for (size_t k = 0; k < r->f->n_vectors; k++) {
        if (add_gram_matrix(r, k, e))
            return -1;
        for_all_panels(r, add_product_panel, &(struct product){r, r->f->x[k]});
    }
    return 0;
}

static void solve_panel(void *context, size_t i, size_t thread)
{
    struct regression *r = context;
    struct panel p = panel_of_rows(r, i);
    matrix_cholesky_solve(p.rows, r->n, r->sum, r->Y + p.first * r->n);
}

/* The Cholesky factor of the sum, in its place. Inputs that are always 0 get a 1 on the diagonal,
 * so that the sum has an inverse. -1 if it has none, up to rounding. */
static int factorize_sum(struct regression *r)
{
    size_t n = r->n;
    for (size_t j = 0; j < n; j++) {
        double *diagonal = &r->sum[j * n + j];
        r->squares[j] = *diagonal;
        *diagonal = *diagonal == 0 ? 1 : *diagonal;
    }
    int failed = matrix_cholesky(n, r->sum);
    for (size_t j = 0; j < n && !failed; j++) {
        double pivot = r->sum[j * n + j];
        failed = !(pivot * pivot > MIN_PIVOT * r->squares[j]);
    }
    return failed ? -1 : 0;
}

/* The mean of column j, for an input that is always 0. */
static void average_column(struct regression *r, size_t j)
{
    for (size_t i = j; i < r->m * r->n; i += r->n) {
        r->Y[i] = 0;
        for (size_t k = 0; k < r->f->n_vectors; k++)
            r->Y[i] += (double)r->f->x[k][i] / (double)r->f->n_vectors;
    }
}

static int compute_result(struct regression *r, struct error *e)
{
    if (sum_products(r, e))
        return -1;
    if (factorize_sum(r))
        return error_set(e,
                         "the sum of the Gram matrices of tensor %s is not positive definite; use "
                         "more samples or a smaller --reduce",
                         r->job->in->name);
    for_all_panels(r, solve_panel, r);
    for (size_t j = 0; j < r->n; j++)
        if (r->squares[j] == 0)
            average_column(r, j);
    matrix_filter_set(r->f, 0, r->Y);
    return 0;
}

static int end_round(struct job *job, struct error *e)
{
    struct matrix_filter *f = job->state;
    if (!f)
        return VERDICT_DONE;
    struct regression r = {.job = job, .f = f, .m = f->rows, .n = f->columns};
    r.sum = mem_alloc(r.n * r.n, sizeof *r.sum);
    r.G = mem_alloc(r.n * r.n, sizeof *r.G);
    r.Y = mem_alloc(r.m * r.n, sizeof *r.Y);
    r.squares = mem_alloc(r.n, sizeof *r.squares);
    int failed = compute_result(&r, e);
    free(r.sum);
    free(r.G);
    free(r.Y);
    free(r.squares);
    return failed ? -1 : VERDICT_DONE;
}

/* ---- begin ----------------------------------------------------------------------------------- */

/* Of the inputs of a matrix (m, n): (n, n) */
static bool set_gram_shape(const struct tensor *t, size_t *rank, uint64_t *shape)
{
    *rank = 2;
    shape[0] = shape[1] = t->rank == 2 ? t->shape[1] : 0;
    return matrix_filter_applies(MATRICES_ALL, t);
}

static int begin_tensor(struct job *job, struct error *e)
{
    if (join_use_weights(job, JOIN_NO_WEIGHTS, e))
        return -1;
    int found = model_statistics_find(job->stage->data, job->in, e);
    return found < 0 ? -1 : found ? matrix_filter_begin(job) : PLAN_TRANSFORM;
}

/* ---- open and close -------------------------------------------------------------------------- */

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    return model_statistics_check_options("gram", &o->grams, e);
}

static int open_regmean(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    parallel_set_threads(s->common.threads);
    if (matrix_init(e))
        return -1;
    s->blas = openblas_description();
    s->data = model_statistics_open(s, "gram", &o->grams, set_gram_shape, h, e);
    return s->data ? join_declare_merged_model(h, o->name, 1, SIZE_MAX, e) : -1;
}

static int close_regmean(struct stage *s, bool ok, struct error *e)
{
    return model_statistics_close(s->data, ok, e);
}

const struct filter filter_regmean = {
    .name = "regmean",
    .summary = "Average linear maps so that they agree on the models' inputs (RegMean)",
    .step = STEP_JOIN,
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
    .check_options = check_options,
    .open = open_regmean,
    .begin_tensor = begin_tensor,
    .observe_block = matrix_filter_observe,
    .accumulate_block = matrix_filter_accumulate,
    .end_round = end_round,
    .transform_block = matrix_filter_transform_join,
    .end_tensor = matrix_filter_end,
    .close = close_regmean,
};
