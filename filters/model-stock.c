/* model-stock: set the weights by the angles between the task vectors (Model Stock)
 *
 *     c = mean over i < j of <tau_i, tau_j> / (|tau_i| |tau_j|)
 *     t = K c / (1 + (K - 1) c)                                  w_k = t / K
 *
 * so that their sum moves the base the fraction t toward the mean of the experts:
 * theta_base + sum_k w_k tau_k = t mean(theta_k) + (1 - t) theta_base. Model Stock: Jang et al.
 * 2024, arXiv 2403.19522, section 4.
 *
 *     tv-extract base math code chat | model-stock | combine | pack --base base merged/
 *
 * One t per tensor, or with --per row one per row (mergekit's filter_wise; a 1-D tensor is one
 * row). As in mergekit the product of two norms counts as at least 1e-6, c is a mean of cosines and
 * not of angles, and t is not clamped. t is 0 if its divisor is below 1e-6 (two opposite vectors).
 * Earlier
 * weights are replaced; the payload is not changed.
 */
#include "filter.h"
#include "join.h"
#include "stage_rules.h"
#include "tensor_sums.h"

#include <stdlib.h>

struct options {
    struct tensor_rules per;
};

enum { PER_TENSOR, PER_ROW };

static const struct option_row rows[] = {
    {"per", OPTION_CHOICE_RULES, offsetof(struct options, per), "WHAT",
     .help = "compute the angles per tensor (default), per row, or as rules say: /*mlp*=row "
             "(repeatable)",
     .choices = "tensor|row", .per_tensor = true},
    {0}};

#define MIN_NORMS   1e-6 /* |tau_i| |tau_j| */
#define MIN_DIVISOR 1e-6

/* One tensor. */
struct state {
    bool per_row;
    size_t rows, columns; /* one row unless per_row */
    double *t;            /* (rows) */
    double *dots;         /* the inner products, unless per_row */
};

/* ---- the method ------------------------------------------------------------------------------ */

/* The number of inner products. */
static size_t count_dot_products(size_t K)
{
    return K * (K + 1) / 2;
}

/* The index of <tau_i, tau_j>, j <= i, among the inner products, as vector_math_gram orders them.
 */
static size_t index_of_dot_product(size_t i, size_t j)
{
    return i * (i + 1) / 2 + j;
}

/* t */
static double compute_interpolation_ratio(const double *dots, size_t K)
{
    double c = 0;
    for (size_t i = 1; i < K; i++)
        for (size_t j = 0; j < i; j++) {
            double norms =
                sqrt(dots[index_of_dot_product(i, i)]) * sqrt(dots[index_of_dot_product(j, j)]);
            double cosine = dots[index_of_dot_product(i, j)] / fmax(norms, MIN_NORMS);
            c += fmax(-1, fmin(cosine, 1));
        }
    c /= (double)K * (double)(K - 1) / 2;
    double divisor = 1 + (double)(K - 1) * c;
    return fabs(divisor) < MIN_DIVISOR ? 0 : (double)K * c / divisor;
}

/* ---- begin and rounds ------------------------------------------------------------------------ */

static int begin_tensor(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct tensor *t = job->in;
    size_t n = tensor_elements(t), K = t->n_vectors;
    if (n == 0)
        return PLAN_PASS_THROUGH;
    if (K < 2)
        return error_set(e, "tensor %s has one vector; the angles are between at least two",
                         t->name);
    struct state *st = job->state = arena_alloc(job->arena, 1, sizeof *st);
    st->per_row = stage_rules_tensor_value(&o->per, t, PER_TENSOR) == PER_ROW;
    st->columns = st->per_row ? tensor_columns(t) : n;
    st->rows = n / st->columns;
    st->t = arena_alloc(job->arena, st->rows, sizeof *st->t);
    st->dots = arena_alloc(job->arena, count_dot_products(K), sizeof *st->dots);
    size_t block_rows = st->per_row ? job->block_elements / st->columns : 0;
    job->work_size = (block_rows + count_dot_products(K)) * sizeof(double);
    return PLAN_OBSERVE;
}

static int observe_block(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct state *st = job->state;
    size_t rows = b->n / st->columns, K = b->n_vectors;
    double *t = work, *dots = t + rows;
    float **x = join_list_vector_pointers(b);
    if (!st->per_row)
        vector_math_gram(x, K, 0, b->n, work);
    for (size_t r = 0; st->per_row && r < rows; r++) {
        vector_math_gram(x, K, r * st->columns, st->columns, dots);
        t[r] = compute_interpolation_ratio(dots, K);
    }
    free(x);
    return 0;
}

static int accumulate_block(struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct state *st = job->state;
    if (!st->per_row)
        tensor_sums_add_block_sums(work, count_dot_products(b->n_vectors), st->dots);
    else
        tensor_sums_add_block_sums(work, b->n / st->columns, st->t + b->first / st->columns);
    return 0;
}

static int end_round(struct job *job, struct error *e)
{
    const struct state *st = job->state;
    size_t K = job->in->n_vectors;
    if (!st->per_row)
        st->t[0] = compute_interpolation_ratio(st->dots, K);
    for (size_t r = 0; r < st->rows; r++)
        st->t[r] /= (double)K;
    for (size_t k = 0; k < K; k++)
        vector_set_weights(&job->out->vectors[k], job->arena, st->rows, st->t);
    return VERDICT_DONE;
}

static enum scope choose_scope(const struct stage *s)
{
    const struct options *o = s->options;
    return tensor_rules_contain_value(&o->per, PER_ROW) ? SCOPE_ROW : SCOPE_TENSOR;
}

const struct filter filter_model_stock = {
    .name = "model-stock",
    .summary = "Set the weights by the angles between the task vectors (Model Stock)",
    .step = STEP_WEIGH,
    .notes = "  tv-extract base math code chat | model-stock | combine |\n"
             "      pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .element_wise = true,
    .choose_scope = choose_scope,
    .begin_tensor = begin_tensor,
    .observe_block = observe_block,
    .accumulate_block = accumulate_block,
    .end_round = end_round,
};
