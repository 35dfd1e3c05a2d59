/* arcee-fusion: take the most important elements of another model
 *
 *     p = softmax(c) + 1e-8,  q = softmax(a) + 1e-8      along each row (the last dimension)
 *     I = |c - a| sum_row p ln(p / q)                    importance of an element
 *     T = I_0.5 + 1.5 (I_0.75 - I_0.25)                  quantiles over the tensor
 *     y = c where I >= T, a elsewhere                    mergekit's arcee_fusion
 *
 * a is the first vector of the stream, c the second. The sum is taken in double, because its terms
 * cancel (in mergekit's float32 about 1 % of it is noise). I is rounded to F32 and ranked exactly;
 * quantile f of n elements is the element of rank floor(f (n - 1)), a product in F32 as in
 * mergekit, without interpolation. All elements are ranked (mergekit samples a million of them).
 *
 *     unpack base math | arcee-fusion | pack --like base merged/
 */
#include "explog.h"
#include "filter.h"
#include "scratch.h"
#include "join.h"
#include "magnitude_multi_select.h"

#include <stdlib.h>

struct options {
    const char *name;
};

static const struct option_row rows[] = {JOIN_NAME_ROW(options, name), {0}};

enum { QUANTILES = 3 };
static const float quantiles[QUANTILES] = {0.25f, 0.5f, 0.75f};

/* One tensor. */
struct state {
    struct magnitude_multi_select
        select;       /* of the quantiles; needs no round for the smallest element */
    float smallest;   /* I */
    double threshold; /* T */
};

/* ---- the method ------------------------------------------------------------------------------ */

/* p = softmax(x) + 1e-8; x, p: (n) */
static void softmax(const float *x, double *p, size_t n)
{
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        max = (double)x[i] > max ? (double)x[i] : max;
    for (size_t i = 0; i < n; i++)
        p[i] = (double)x[i] - max;
    explog_exp(p, p, n);
    for (size_t i = 0; i < n; i++)
        sum += p[i];
    for (size_t i = 0; i < n; i++)
        p[i] = p[i] / sum + 1e-8;
}

/* sum p ln(p / q) over a row of n elements; work: (2 n) */
static double kl_divergence(const float *c, const float *a, size_t n, double *work)
{
    double *p = work, *q = work + n, sum = 0;
    softmax(c, p, n);
    softmax(a, q, n);
    for (size_t i = 0; i < n; i++)
        q[i] = p[i] / q[i];
    explog_log(q, q, n);
    for (size_t i = 0; i < n; i++)
        sum += p[i] * q[i];
    return sum > 0 ? sum : 0; /* rounding can make it negative */
}

/* I of n elements in whole rows; work: (2 columns) */
static void compute_importance(const float *a, const float *c, size_t n, size_t columns,
                               float *importance, double *work)
{
    for (size_t row = 0; row < n; row += columns) {
        double kl = kl_divergence(c + row, a + row, columns, work);
        for (size_t i = row; i < row + columns; i++)
            importance[i] = (float)(fabs((double)c[i] - (double)a[i]) * kl);
    }
}

/* The importance at quantile q. */
static double importance_at_quantile(const struct state *st, size_t q)
{
    struct magnitude_cut cut = magnitude_select_result(st->select.selections[q]);
    float x = st->smallest;
    if (!cut.all)
        memcpy(&x, &cut.bits, sizeof x);
    return x;
}

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    const struct state *st = job->state;
    if (!st)
        return join_require_identical(job->in, b, e);
    float *a = block_floats(b, 0), *c = block_floats(b, 1);
    const struct common_options *o = &job->stage->common;
    struct scratch memory;
    size_t size = 2 * b->columns * sizeof(double) + b->n * sizeof(float);
    if (scratch_alloc(&memory, size, o->memory, o->spool, e))
        return -1;
    double *work = memory.bytes;
    float *importance = (float *)(work + 2 * b->columns);
    compute_importance(a, c, b->n, b->columns, importance, work);
    for (size_t i = 0; i < b->n; i++)
        a[i] = (double)importance[i] >= st->threshold ? c[i] : a[i];
    scratch_free(&memory);
    b->n_vectors = 1;
    return 0;
}

/* ---- rounds: the quantiles ------------------------------------------------------------------- */

/* The work area of a block, in parts that start at multiples of 64 bytes. */
struct work_parts {
    float *smallest;   /* importance */
    float *importance; /* (n) */
    double *rows;      /* (2 columns), for compute_importance */
    void *selection;   /* of multi_select */
};

static size_t align_part_size(size_t size)
{
    return (size + 63) / 64 * 64;
}

/* The part at *next, which moves to the end of it. */
static void *take_next_work_part(char **next, size_t size)
{
    char *part = *next;
    *next += align_part_size(size);
    return part;
}

static struct work_parts split_work_memory(void *work, const struct block *b)
{
    char *next = work;
    struct work_parts w;
    w.smallest = take_next_work_part(&next, sizeof(float));
    w.importance = take_next_work_part(&next, b->n * sizeof(float));
    w.rows = take_next_work_part(&next, 2 * b->columns * sizeof(double));
    w.selection = next;
    return w;
}

static void plan_round(struct job *job)
{
    const struct state *st = job->state;
    size_t n = job->block_elements, columns = tensor_columns(job->in);
    job->sample_elements = magnitude_multi_select_sample_elements(&st->select);
    job->work_size = align_part_size(sizeof(float)) + align_part_size(n * sizeof(float)) +
                     align_part_size(2 * columns * sizeof(double)) +
                     magnitude_multi_select_work_size(&st->select, n);
}

static int observe_block(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct state *st = job->state;
    struct work_parts w = split_work_memory(work, b);
    compute_importance(block_floats(b, 0), block_floats(b, 1), b->n, b->columns, w.importance,
                       w.rows);
    *w.smallest = INFINITY;
    for (size_t i = 0; i < b->n; i++)
        *w.smallest = w.importance[i] < *w.smallest ? w.importance[i] : *w.smallest;
    magnitude_multi_select_observe_block(&st->select, w.importance, b->first, b->n, w.selection);
    return 0;
}

static int accumulate_block(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct state *st = job->state;
    struct work_parts w = split_work_memory(work, b);
    st->smallest = *w.smallest < st->smallest ? *w.smallest : st->smallest;
    magnitude_multi_select_accumulate_block(&st->select, b->n, w.selection);
    return 0;
}

static int end_round(struct job *job, struct error *e)
{
    struct state *st = job->state;
    if (!st)
        return VERDICT_DONE;
    if (!magnitude_multi_select_decide_after_round(&st->select)) {
        plan_round(job);
        return VERDICT_AGAIN;
    }
    st->threshold = importance_at_quantile(st, 1) +
                    1.5 * (importance_at_quantile(st, 2) - importance_at_quantile(st, 0));
    return VERDICT_DONE;
}

/* ---- open, begin and end --------------------------------------------------------------------- */

static int open_fusion(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    return join_declare_merged_model(h, o->name, 2, 2, e);
}

static int begin_tensor(struct job *job, struct error *e)
{
    size_t n = tensor_elements(job->in);
    if (join_use_weights(job, JOIN_NO_WEIGHTS, e))
        return -1;
    if (!tensor_is_float(job->in) || n == 0)
        return PLAN_TRANSFORM;
    struct state *st = job->state = arena_alloc(job->arena, 1, sizeof *st);
    st->smallest = INFINITY;
    for (size_t q = 0; q < QUANTILES; q++) {
        size_t rank = (size_t)(quantiles[q] * (float)(n - 1));
        st->select.selections[q] = magnitude_select_new(n, n - rank, TIE_LOWER_INDEX_WINS, 0);
    }
    plan_round(job);
    return PLAN_OBSERVE;
}

static int end_tensor(struct job *job, bool ok, struct error *e)
{
    struct state *st = job->state;
    if (st)
        magnitude_multi_select_free(&st->select);
    return 0;
}

const struct filter filter_arcee_fusion = {
    .name = "arcee-fusion",
    .summary =
        "Join two models' weights, taking the most important elements of the second (Arcee Fusion)",
    .step = STEP_JOIN,
    .notes = "  unpack base math | arcee-fusion | pack --like base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_WEIGHTS,
    .role = ROLE_FILTER,
    .open = open_fusion,
    .scope = SCOPE_ROW, /* with rounds over the whole tensor */
    .begin_tensor = begin_tensor,
    .observe_block = observe_block,
    .accumulate_block = accumulate_block,
    .end_round = end_round,
    .transform_block = transform_block,
    .end_tensor = end_tensor,
};
