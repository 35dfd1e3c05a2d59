/* wudi: join task vectors by minimizing their interference (WUDI, OptMerge)
 *
 *     minimize over X  sum_k |(X - T_k) L_k'|^2 / |d_k|^2        gradient 2 (X C - D)
 *     C = sum_k L_k' L_k / |d_k|^2               D = sum_k T_k L_k' L_k / |d_k|^2
 *
 *     --optimizer adam      T_k = L_k = d_k; from the sum by Adam (0.9, 0.999, eps 1e-8)       WUDI
 *     --optimizer sgd       T_k = L_k = the r / K largest triplets of d_k; from the mean by SGD
 *                           with momentum 0.9                                              OptMerge
 *     --centered            L_k as for sgd, T_k = the mean and the r / K largest triplets of
 *                           d_k - mean; from the sum by Adam     OptMerge's code for InternVL
 *
 * for each matrix d_k (m, n), r = min(m, n), of expert k. Tensors that are not matrices, embeddings
 * and heads are averaged. WUDI: Cheng et al. 2025, arXiv 2503.08099; OptMerge: arXiv 2505.19892.
 *
 *     tv-extract base math code chat | wudi | pack --base base merged/
 *
 * Adam moves an element by about the learning rate per step, whatever its size, so WUDI's result is
 * the sum plus at most steps x lr per element. SGD is linear: in the eigenvectors of C each column
 * of X follows its own recurrence, which is computed for a start of 1 and for a D of 1. swudi is
 * the closed form that both approach.
 *
 * An expert that did not change the matrix is left out of the sums; the published code gives NaN.
 * WUDI's code keeps the base's values of the tensors that are averaged here.
 */
#include "join.h"
#include "matrix.h"
#include "matrix_filter.h"
#include "normal_matrix.h"

#include <stdlib.h>
#include <string.h>

struct options {
    int optimizer, matrices;
    bool centered;
    double lr;
    uint64_t steps;
    const char *name;
};

enum { OPTIMIZER_ADAM, OPTIMIZER_SGD };

#define FIELD(name) offsetof(struct options, name)
static const struct option_row rows[] = {
    {"optimizer", OPTION_CHOICE, FIELD(optimizer), "adam|sgd",
     .help = "adam: WUDI (default); sgd: OptMerge, on truncated task vectors, from their mean",
     .choices = "adam|sgd", .default_value = "adam", .alias = "optimiser"},
    {"centered", OPTION_FLAG, FIELD(centered),
     .help = "adam: on task vectors that are truncated around their mean", .alias = "centred"},
    {"lr", OPTION_NUMBER, FIELD(lr), "LR",
     .help = "learning rate (default 1e-5 for adam, 1e-4 for sgd)",
     .range = {.low = 0, .high = INFINITY, .low_open = true, .high_open = true}},
    {"steps", OPTION_COUNT, FIELD(steps), "N", .help = "number of updates (default 300)",
     .default_value = "300"},
    MATRICES_ROW(options, matrices),
    JOIN_NAME_ROW(options, name),
    {0}};
#undef FIELD

/* ---- the objective --------------------------------------------------------------------------- */

struct objective {
    struct normal_matrix C;
    double *D; /* (m, n) */
};

/* The `count` largest triplets of A: S V' (count, n) in `rows`, and their sum in A if `truncate`.
 */
static int find_largest_triplets(const struct matrix_filter *f, size_t count, double *A,
                                 bool truncate, double *rows, struct error *e)
{
    size_t m = f->rows, n = f->columns;
    struct svd svd;
    int failed = svd_compute(&svd, m, n, A, count, SVD_MIN_TOLERANCE, 0, e);
    for (size_t i = 0; !failed && i < count; i++)
        for (size_t j = 0; j < n; j++)
            rows[i * n + j] = svd.s[i] * svd.V[i * n + j];
    if (!failed && truncate)
        matrix_tn(m, n, count, 1, svd.U, rows, 0, A);
    svd_free(&svd);
    return failed;
}

/* C += L' L / l, D += T L' L / l;  T (m, n), L (count, n) */
static void add_to_objective(const struct matrix_filter *f, double l, const double *T,
                             const double *L, size_t count, struct objective *o)
{
    double *product = mem_alloc_aligned(f->rows * count * sizeof *product);
    normal_matrix_add(&o->C, count, L, l);
    matrix_nt(f->rows, count, f->columns, 1 / l, T, L, 0, product);
    matrix_nn(f->rows, f->columns, count, 1, product, L, 1, o->D);
    free(product);
}

/* T_k, which becomes d, and L_k */
static int truncate_vector(const struct matrix_filter *f, const double *mean, size_t count,
                           double *d, double *L, struct error *e)
{
    if (!mean)
        return find_largest_triplets(f, count, d, true, L, e);
    size_t size = f->rows * f->columns;
    double *ignored = mem_alloc_aligned(count * f->columns * sizeof *ignored);
    int failed = find_largest_triplets(f, count, d, false, L, e);
    for (size_t i = 0; i < size; i++)
        d[i] -= mean[i];
    if (!failed)
        failed = find_largest_triplets(f, count, d, true, ignored, e);
    for (size_t i = 0; i < size; i++)
        d[i] += mean[i];
    free(ignored);
    return failed;
}

/* Are the task vectors truncated to their largest triplets? */
static bool truncates(const struct options *o)
{
    return o->optimizer == OPTIMIZER_SGD || o->centered;
}

/* Rows of L_k */
static size_t count_rows_of_vector(const struct matrix_filter *f, const struct options *o)
{
    return truncates(o) ? matrix_filter_min_side(f) / f->n_vectors : f->rows;
}

/* `mean` is that of all d_k if the vectors are centered, else NULL. */
static int add_vector(const struct matrix_filter *f, size_t k, const struct options *options,
                      const double *mean, struct objective *o, struct error *e)
{
    double l = matrix_filter_squared_norm(f, k);
    if (l == 0)
        return 0;
    double *d = matrix_filter_widen(f, k);
    int failed = 0;
    size_t count = count_rows_of_vector(f, options);
    if (truncates(options)) {
        double *L = mem_alloc_aligned(count * f->columns * sizeof *L);
        failed = truncate_vector(f, mean, count, d, L, e);
        if (!failed)
            add_to_objective(f, l, d, L, count, o);
        free(L);
    } else {
        add_to_objective(f, l, d, d, count, o);
    }
    free(d);
    return failed;
}

/* ---- the optimizers -------------------------------------------------------------------------- */

/* X <- X after `steps` updates */
static void run_adam(const struct matrix_filter *f, const struct options *options,
                     const struct objective *o, double *X)
{
    size_t m = f->rows, n = f->columns, size = m * n;
    double lr = options->lr > 0 ? options->lr : 1e-5, decay1 = 1, decay2 = 1;
    double *gradient = mem_alloc_aligned(size * sizeof *gradient);
    double *mean = mem_alloc(size, sizeof *mean), *square = mem_alloc(size, sizeof *square);
    for (uint64_t step = 0; step < options->steps; step++) {
        memcpy(gradient, o->D, size * sizeof *gradient);
        normal_matrix_multiply(&o->C, m, 2, X, -2, gradient);
        decay1 *= 0.9;
        decay2 *= 0.999;
        double rate = lr / (1 - decay1), root = 1 / sqrt(1 - decay2);
        for (size_t i = 0; i < size; i++) {
            mean[i] = 0.9 * mean[i] + 0.1 * gradient[i];
            square[i] = 0.999 * square[i] + 0.001 * gradient[i] * gradient[i];
            X[i] -= rate * mean[i] / (sqrt(square[i]) * root + 1e-8);
        }
    }
    free(gradient);
    free(mean);
    free(square);
}

/* x after `steps` updates with the gradient 2 (lam x - y) and momentum 0.9 */
static double run_scalar_sgd(double x, double y, double lam, double lr, uint64_t steps)
{
    double buffer = 0;
    for (uint64_t step = 0; step < steps; step++) {
        buffer = 0.9 * buffer + 2 * (lam * x - y);
        x -= lr * buffer;
    }
    return x;
}

/* In the eigenvectors of C = Q' diag(lam) Q the columns of X Q' and D Q' have a recurrence each.
 * Directions without an eigenvector stay as they are. */
static int run_sgd(const struct matrix_filter *f, const struct options *options,
                   struct objective *o, double *X, struct error *e)
{
    size_t m = f->rows, n = f->columns;
    double lr = options->lr > 0 ? options->lr : 1e-4;
    if (normal_matrix_decompose(&o->C, e))
        return -1;
    size_t r = o->C.count;
    const double *Q = o->C.eigenvectors, *lam = o->C.eigenvalues + (n - r);
    double *x = mem_alloc_aligned(m * r * sizeof *x), *y = mem_alloc_aligned(m * r * sizeof *y);
    matrix_nt(m, r, n, 1, X, Q, 0, x);
    matrix_nt(m, r, n, 1, o->D, Q, 0, y);
    for (size_t j = 0; j < r; j++) {
        double of_start = run_scalar_sgd(1, 0, lam[j], lr, options->steps) - 1;
        double of_target = run_scalar_sgd(0, 1, lam[j], lr, options->steps);
        for (size_t i = 0; i < m; i++)
            x[i * r + j] = of_start * x[i * r + j] + of_target * y[i * r + j];
    }
    matrix_nn(m, n, r, 1, x, Q, 1, X);
    free(x);
    free(y);
    return 0;
}

/* ---- the method ------------------------------------------------------------------------------ */

static void divide(double *x, double divisor, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] /= divisor;
}

static int optimize(const struct matrix_filter *f, const struct options *options,
                    struct objective *o, double *X, struct error *e)
{
    if (options->optimizer == OPTIMIZER_SGD)
        return run_sgd(f, options, o, X, e);
    run_adam(f, options, o, X);
    return 0;
}

static int merge_matrix(struct matrix_filter *f, const void *parsed, struct error *e)
{
    const struct options *options = parsed;
    size_t n = f->columns, size = f->rows * n;
    struct objective o = {.D = mem_alloc(size, sizeof *o.D)};
    normal_matrix_init(&o.C, n, f->n_vectors * count_rows_of_vector(f, options));
    double *X = matrix_filter_sum(f), *mean = NULL;
    int failed = 0;
    if (options->centered) {
        mean = matrix_filter_sum(f);
        divide(mean, (double)f->n_vectors, size);
    }
    for (size_t k = 0; k < f->n_vectors && !failed; k++)
        failed = add_vector(f, k, options, mean, &o, e);
    if (options->optimizer == OPTIMIZER_SGD)
        divide(X, (double)f->n_vectors, size);
    if (!failed)
        failed = optimize(f, options, &o, X, e);
    if (!failed)
        matrix_filter_set(f, 0, X);
    normal_matrix_free(&o.C);
    free(o.D);
    free(X);
    free(mean);
    return failed;
}

/* ---- open, begin, decide --------------------------------------------------------------------- */

static size_t count_no_rows(size_t m, size_t n, size_t K)
{
    return 0;
}

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    return o->centered && o->optimizer == OPTIMIZER_SGD
               ? error_set(e, "--centered needs --optimizer adam")
               : 0;
}

static int open_wudi(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    /* Of the task vectors, to truncate them, and of C, which has at most as many rows. */
    return matrix_filter_open_join(
        s, h, o->matrices, truncates(o) ? matrix_filter_shorter_side : count_no_rows, o->name, e);
}

/* Where K > r, the truncated task vectors are 0, and only WUDI itself is left to compute. */
static bool applies_to_tensor(const struct options *o, const struct tensor *t)
{
    return matrix_filter_applies(o->matrices, t) &&
           (!truncates(o) || matrix_filter_has_direction_each(t));
}

static uint64_t tensor_memory(const struct stage *s, const struct tensor *t)
{
    const struct options *o = s->options;
    if (!applies_to_tensor(o, t))
        return 0;
    double optimizer = 5 * (double)tensor_elements(t);
    double truncated = truncates(o) ? svd_memory(t->shape[0], t->shape[1]) : 0;
    return matrix_filter_memory(
        t, optimizer + truncated + normal_matrix_memory(t->shape[1], t->n_vectors * t->shape[0]));
}

static int begin_tensor(struct job *job, struct error *e)
{
    return matrix_filter_begin_join(job, applies_to_tensor(job->stage->options, job->in), e);
}

static int end_round(struct job *job, struct error *e)
{
    return matrix_filter_compute(job, merge_matrix, e);
}

const struct filter filter_wudi = {
    .name = "wudi",
    .summary = "Join task vectors by minimizing their interference (WUDI, OptMerge)",
    .step = STEP_JOIN,
    .notes = "  tv-extract base math code chat | wudi | pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .scope = SCOPE_TENSOR,
    .check_options = check_options,
    .open = open_wudi,
    .begin_tensor = begin_tensor,
    .observe_block = matrix_filter_observe,
    .accumulate_block = matrix_filter_accumulate,
    .end_round = end_round,
    .transform_block = matrix_filter_transform_join,
    .end_tensor = matrix_filter_end,
    .tensor_memory = tensor_memory,
};
