/* iso-merge: join task vectors with a flat spectrum (Iso-C, Iso-CTS)
 *
 *     A = sum_k d_k = U S V'                     y = mean(S) polar(A),  polar(A) = U V'       Iso-C
 *
 * and, with --common F < 1, expert by expert for what is not common to them (Iso-CTS):
 *
 *     t = round((r - floor(r F)) / K)            at most r / K, half to even
 *     U_c, V_c: the first c = r - t K triplets of A;  U_k, V_k: the first t of d_k - U_c U_c' d_k
 *     y = mean(S_1 .. S_K, S_c) polar([U_1 .. U_K, U_c]) polar([V_1 .. V_K, V_c])'
 *
 * for each matrix d_k (m, n), r = min(m, n), of expert k. Tensors that are not matrices, embeddings
 * and heads are averaged, not summed. Marczak et al. 2025, arXiv 2502.04959.
 *
 *     tv-extract base math code chat | iso-merge | rescale 0.8 | pack --base base merged/
 *     ... | iso-merge --common 0.8 | rescale 0.8 | ...
 *
 * A direction whose singular value is at most --tolerance times the largest (of A; for U_k, V_k of
 * d_k) is dropped: its singular vectors are arbitrary. The published code keeps them and gives each
 * of them the mean singular value. The means still divide by r. The published code does
 * not bound t.
 */
#include "join.h"
#include "matrix.h"
#include "matrix_filter.h"

#include <stdlib.h>
#include <string.h>

struct options {
    int matrices;
    double common, tolerance;
    const char *name;
};

static const struct option_row rows[] = {
    {"common", OPTION_NUMBER, offsetof(struct options, common), "F",
     .help = "fraction of the directions that are common to all experts; the others are the "
             "experts' own (Iso-CTS; default 1: Iso-C)",
     .range = {.low = 0, .high = 1}, .default_value = "1"},
    TOLERANCE_ROW(options, tolerance),
    MATRICES_ROW(options, matrices),
    JOIN_NAME_ROW(options, name),
    {0}};

/* t */
static size_t count_own_directions(size_t r, size_t K, double common)
{
    double own = nearbyint((double)(r - (size_t)((double)r * common)) / (double)K);
    return own > (double)(r / K) ? r / K : (size_t)own;
}

/* mean(S) U V' */
static void flatten_spectrum(const struct matrix_filter *f, const struct svd *svd, double *result)
{
    double sum = 0;
    for (size_t i = 0; i < svd->count; i++)
        sum += svd->s[i];
    matrix_tn(f->rows, f->columns, svd->count, sum / (double)svd->count, svd->U, svd->V, 0, result);
}

/* The triplets of the experts and the common ones: rows, and the sum of their singular values. */
struct basis {
    size_t count;
    double sum, *U, *V; /* (r, m), (r, n) */
};

static void add_to_basis(const struct matrix_filter *f, const struct svd *svd, double least,
                         size_t count, struct basis *b)
{
    size_t m = f->rows, n = f->columns;
    for (size_t i = 0; i < count; i++)
        b->sum += svd->s[i] > least ? svd->s[i] : 0;
    memcpy(b->U + b->count * m, svd->U, count * m * sizeof *b->U);
    memcpy(b->V + b->count * n, svd->V, count * n * sizeof *b->V);
    b->count += count;
}

/* d - U_c U_c' d, in place; U_c' has the first c rows of U. */
static void remove_common_part(const struct matrix_filter *f, const double *U, size_t c, double *d)
{
    size_t m = f->rows, n = f->columns;
    double *product = mem_alloc_aligned(c * n * sizeof *product);
    matrix_nn(c, n, m, 1, U, d, 0, product);
    matrix_tn(m, n, c, -1, U, product, 1, d);
    free(product);
}

static int add_own_directions(const struct matrix_filter *f, size_t k, const struct svd *common,
                              size_t t, double tolerance, struct basis *b, struct error *e)
{
    size_t m = f->rows, n = f->columns, c = matrix_filter_min_side(f) - t * f->n_vectors;
    double *d = matrix_filter_widen(f, k), norm;
    struct svd svd = {0};
    int failed = svd_norm(m, n, d, &norm, e);
    if (!failed) {
        if (c > 0)
            remove_common_part(f, common->U, c, d);
        failed = svd_compute(&svd, m, n, d, t, tolerance, norm, e);
    }
    if (!failed)
        add_to_basis(f, &svd, tolerance * norm, t, b);
    svd_free(&svd);
    free(d);
    return failed;
}

/* Iso-CTS */
static int merge_common_and_own(const struct matrix_filter *f, const struct options *o,
                                const struct svd *common, size_t t, double *result, struct error *e)
{
    size_t m = f->rows, n = f->columns, r = matrix_filter_min_side(f), c = r - t * f->n_vectors;
    struct basis b = {.U = mem_alloc_aligned(r * m * sizeof *b.U)};
    b.V = mem_alloc_aligned(r * n * sizeof *b.V);
    int failed = 0;
    for (size_t k = 0; k < f->n_vectors && !failed; k++)
        failed = add_own_directions(f, k, common, t, o->tolerance, &b, e);
    if (!failed) {
        add_to_basis(f, common, o->tolerance * common->s[0], c, &b);
        failed = svd_polar_product(m, n, r, b.U, NULL, b.V, o->tolerance, result, e);
    }
    for (size_t i = 0; !failed && i < m * n; i++)
        result[i] *= b.sum / (double)r;
    free(b.U);
    free(b.V);
    return failed;
}

static int merge_matrix(struct matrix_filter *f, const void *options, struct error *e)
{
    const struct options *o = options;
    size_t r = matrix_filter_min_side(f), t = count_own_directions(r, f->n_vectors, o->common);
    double *A = matrix_filter_sum(f);
    struct svd svd;
    int failed = svd_compute(&svd, f->rows, f->columns, A, r, o->tolerance, 0, e);
    if (!failed && t > 0)
        failed = merge_common_and_own(f, o, &svd, t, A, e);
    else if (!failed)
        flatten_spectrum(f, &svd, A);
    if (!failed)
        matrix_filter_set(f, 0, A);
    svd_free(&svd);
    free(A);
    return failed;
}

static int open_iso_merge(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    return matrix_filter_open_join(s, h, o->matrices, matrix_filter_shorter_side, o->name, e);
}

static uint64_t tensor_memory(const struct stage *s, const struct tensor *t)
{
    const struct options *o = s->options;
    if (!matrix_filter_applies(o->matrices, t))
        return 0;
    return matrix_filter_memory(t, 2 * svd_memory(t->shape[0], t->shape[1]));
}

static int begin_tensor(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    return matrix_filter_begin_join(job, matrix_filter_applies(o->matrices, job->in), e);
}

static int end_round(struct job *job, struct error *e)
{
    return matrix_filter_compute(job, merge_matrix, e);
}

const struct filter filter_iso_merge = {
    .name = "iso-merge",
    .summary = "Join task vectors with a flat spectrum (Iso-C, Iso-CTS)",
    .step = STEP_JOIN,
    .notes = "  tv-extract base math code chat | iso-merge | rescale 0.8 |\n"
             "      pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .scope = SCOPE_TENSOR,
    .open = open_iso_merge,
    .begin_tensor = begin_tensor,
    .observe_block = matrix_filter_observe,
    .accumulate_block = matrix_filter_accumulate,
    .end_round = end_round,
    .transform_block = matrix_filter_transform_join,
    .end_tensor = matrix_filter_end,
    .tensor_memory = tensor_memory,
};
