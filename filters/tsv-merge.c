/* tsv-merge: join task vectors by their largest singular vectors, made orthogonal (TSV-M)
 *
 *     d_k = U_k S_k V_k'                         the first r / K triplets of each expert are kept
 *     U = [U_1 .. U_K], S = [S_1 .. S_K], V = [V_1 .. V_K]
 *     y = polar(U) diag(S) polar(V)'             polar(X) = X (X'X)^-1/2
 *
 * for each matrix d_k (m, n), r = min(m, n), of expert k. Tensors that are not matrices, embeddings
 * and heads are averaged; so is a matrix with K > r. Gargiulo et al. 2024, arXiv 2412.00081,
 * section 4.
 *
 *     tv-extract base math code chat | tsv-merge | pack --base base merged/
 *
 * A direction whose singular value is at most --tolerance times the largest of its matrix is
 * dropped: its singular vectors are arbitrary. The published code keeps them, and they displace
 * true directions of the other experts.
 */
#include "join.h"
#include "matrix_filter.h"

#include <stdlib.h>
#include <string.h>

struct options {
    int matrices;
    double tolerance;
    const char *name;
};

static const struct option_row rows[] = {TOLERANCE_ROW(options, tolerance),
                                         MATRICES_ROW(options, matrices),
                                         JOIN_NAME_ROW(options, name),
                                         {0}};

/* The triplets of all experts, one after the other. */
struct triplets {
    size_t count;
    double *s, *U, *V; /* (count), (count, m), (count, n) */
};

static int add_triplets(const struct matrix_filter *f, size_t k, size_t kept, double tolerance,
                        struct triplets *t, struct error *e)
{
    size_t m = f->rows, n = f->columns;
    double *d = matrix_filter_widen(f, k);
    struct svd svd;
    int failed = svd_compute(&svd, m, n, d, kept, tolerance, 0, e);
    if (!failed) {
        memcpy(t->s + t->count, svd.s, kept * sizeof *svd.s);
        memcpy(t->U + t->count * m, svd.U, kept * m * sizeof *svd.U);
        memcpy(t->V + t->count * n, svd.V, kept * n * sizeof *svd.V);
        t->count += kept;
    }
    svd_free(&svd);
    free(d);
    return failed;
}

static int merge_triplets(struct matrix_filter *f, const void *options, struct error *e)
{
    const struct options *o = options;
    size_t m = f->rows, n = f->columns, K = f->n_vectors, kept = matrix_filter_min_side(f) / K;
    struct triplets t = {.s = mem_alloc(K * kept, sizeof *t.s)};
    t.U = mem_alloc_aligned(K * kept * m * sizeof *t.U);
    t.V = mem_alloc_aligned(K * kept * n * sizeof *t.V);
    int failed = 0;
    for (size_t k = 0; k < K && !failed; k++)
        failed = add_triplets(f, k, kept, o->tolerance, &t, e);
    double *result = mem_alloc_aligned(m * n * sizeof *result);
    if (!failed)
        failed = svd_polar_product(m, n, t.count, t.U, t.s, t.V, o->tolerance, result, e);
    if (!failed)
        matrix_filter_set(f, 0, result);
    free(result);
    free(t.s);
    free(t.U);
    free(t.V);
    return failed;
}

static int open_tsv_merge(struct stage *s, struct header *h, struct error *e)
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
    return matrix_filter_begin_join(job,
                                    matrix_filter_applies(o->matrices, job->in) &&
                                        matrix_filter_has_direction_each(job->in),
                                    e);
}

static int end_round(struct job *job, struct error *e)
{
    return matrix_filter_compute(job, merge_triplets, e);
}

const struct filter filter_tsv_merge = {
    .name = "tsv-merge",
    .summary = "Join task vectors by their largest singular vectors (TSV-M)",
    .step = STEP_JOIN,
    .notes = "  tv-extract base math code chat | tsv-merge | pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .scope = SCOPE_TENSOR,
    .open = open_tsv_merge,
    .begin_tensor = begin_tensor,
    .observe_block = matrix_filter_observe,
    .accumulate_block = matrix_filter_accumulate,
    .end_round = end_round,
    .transform_block = matrix_filter_transform_join,
    .end_tensor = matrix_filter_end,
    .tensor_memory = tensor_memory,
};
