/* arcee-fusion: take over what matters most of another model's weights
 *
 *     p = softmax(c) + 1e-8,  q = softmax(a) + 1e-8      along each row (the last dimension)
 *     I = |c - a| sum_row p ln(p / q)                    importance of an element
 *     T = I_0.5 + 1.5 (I_0.75 - I_0.25)                  quantiles over the tensor
 *     y = c where I >= T, a elsewhere                    mergekit's arcee_fusion
 *
 * a is the first vector of the stream, c the second. The sum is a small one of large terms that
 * cancel: it is taken in double (mergekit's float32 makes about 1 % of it noise). I is rounded to
 * F32 and ranked exactly; quantile f of n elements is that of rank floor(f (n - 1)), worked out in
 * F32 as in mergekit, without interpolation. All elements count (mergekit draws a million of them).
 *
 *     unpack base math | arcee-fusion | pack --like base merged/
 */
#include "explog.h"
#include "filter.h"
#include "join.h"
#include "multi_select.h"

#include <stdlib.h>

struct options {
    const char *name;
};

static const struct option_row rows[] = {JOIN_NAME_ROW(options, name), {0}};

enum { QUANTILES = 3 };
static const float quantiles[QUANTILES] = {0.25f, 0.5f, 0.75f};

/* One tensor. */
struct state {
    struct multi_select ranks; /* known at once where the quantile is the smallest element */
    float smallest;
    double threshold;
};

/* ---- the method ------------------------------------------------------------------------------ */

/* to = softmax(x) + 1e-8, n elements */
static void softmax(const float *x, double *to, size_t n)
{
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        max = (double)x[i] > max ? (double)x[i] : max;
    for (size_t i = 0; i < n; i++)
        to[i] = (double)x[i] - max;
    explog_exp(to, to, n);
    for (size_t i = 0; i < n; i++)
        sum += to[i];
    for (size_t i = 0; i < n; i++)
        to[i] = to[i] / sum + 1e-8;
}

/* sum p ln(p / q) over a row; work holds 2 n numbers */
static double divergence(const float *c, const float *a, size_t n, double *work)
{
    double *p = work, *q = work + n, sum = 0;
    softmax(c, p, n);
    softmax(a, q, n);
    for (size_t i = 0; i < n; i++)
        q[i] = p[i] / q[i];
    explog_log(q, q, n);
    for (size_t i = 0; i < n; i++)
        sum += p[i] * q[i];
    return sum > 0 ? sum : 0; /* but for rounding it is never less */
}

/* The importance of n elements, whole rows; work holds 2 columns numbers. */
static void importance(const float *a, const float *c, size_t n, size_t columns, float *to,
                       double *work)
{
    for (size_t row = 0; row < n; row += columns) {
        double kl = divergence(c + row, a + row, columns, work);
        for (size_t i = row; i < row + columns; i++)
            to[i] = (float)(fabs((double)c[i] - (double)a[i]) * kl);
    }
}

static double quantile(const struct state *st, size_t q)
{
    struct magnitude_cut cut = magnitude_select_result(st->ranks.selections[q]);
    float x = st->smallest;
    if (!cut.all)
        memcpy(&x, &cut.bits, sizeof x);
    return x;
}

static int transform(const struct job *job, struct block *b, struct error *e)
{
    const struct state *st = job->state;
    if (!st)
        return join_identical_vectors(job->in, b, e);
    float *a = block_floats(b, 0), *c = block_floats(b, 1);
    float *weight = mem_alloc(b->n, sizeof *weight);
    double *work = mem_alloc(2 * b->columns, sizeof *work);
    importance(a, c, b->n, b->columns, weight, work);
    for (size_t i = 0; i < b->n; i++)
        a[i] = (double)weight[i] >= st->threshold ? c[i] : a[i];
    free(weight);
    free(work);
    b->n_vectors = 1;
    return 0;
}

/* ---- finding the quantiles ------------------------------------------------------------------- */

/* The work area: the smallest element, the importance of all, what it takes to work that out, then
 * the findings. */
struct area {
    float *smallest, *x;
    double *rows;
    void *found;
};

static size_t aligned(size_t size)
{
    return (size + 63) / 64 * 64;
}

/* A part of the area; the next one begins behind it. */
static void *part(char **next, size_t size)
{
    char *at = *next;
    *next += aligned(size);
    return at;
}

static struct area divide(void *work, const struct block *b)
{
    char *next = work;
    struct area area;
    area.smallest = part(&next, sizeof(float));
    area.x = part(&next, b->n * sizeof(float));
    area.rows = part(&next, 2 * b->columns * sizeof(double));
    area.found = next;
    return area;
}

static void plan_round(struct job *job)
{
    const struct state *st = job->state;
    size_t n = tensor_block_elements(job->in), columns = tensor_columns(job->in);
    job->sample_elements = multi_select_sample_elements(&st->ranks);
    job->work_size = aligned(sizeof(float)) + aligned(n * sizeof(float)) +
                     aligned(2 * columns * sizeof(double)) + multi_select_work_size(&st->ranks, n);
}

static int observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct state *st = job->state;
    struct area area = divide(work, b);
    importance(block_floats(b, 0), block_floats(b, 1), b->n, b->columns, area.x, area.rows);
    *area.smallest = INFINITY;
    for (size_t i = 0; i < b->n; i++)
        *area.smallest = area.x[i] < *area.smallest ? area.x[i] : *area.smallest;
    multi_select_observe(&st->ranks, area.x, b->first, b->n, area.found);
    return 0;
}

static int merge(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct state *st = job->state;
    struct area area = divide(work, b);
    st->smallest = *area.smallest < st->smallest ? *area.smallest : st->smallest;
    multi_select_merge(&st->ranks, b->n, area.found);
    return 0;
}

static int decide(struct job *job, struct error *e)
{
    struct state *st = job->state;
    if (!st)
        return VERDICT_DONE;
    if (!multi_select_decide(&st->ranks)) {
        plan_round(job);
        return VERDICT_AGAIN;
    }
    st->threshold = quantile(st, 1) + 1.5 * (quantile(st, 2) - quantile(st, 0));
    return VERDICT_DONE;
}

/* ---- around it ------------------------------------------------------------------------------- */

static int open_fusion(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    return join_declare_result(h, o->name, 2, 2, e);
}

static int begin(struct job *job, struct error *e)
{
    size_t n = tensor_elements(job->in);
    if (join_check_weights(job->stage, job->in, JOIN_NO_WEIGHTS, e))
        return -1;
    if (!tensor_is_float(job->in) || n == 0)
        return PLAN_TRANSFORM;
    struct state *st = job->state = arena_alloc(job->arena, 1, sizeof *st);
    st->smallest = INFINITY;
    for (size_t q = 0; q < QUANTILES; q++) {
        size_t rank = (size_t)(quantiles[q] * (float)(n - 1));
        st->ranks.selections[q] = magnitude_select_new(n, n - rank, TIE_LOWER_INDEX_WINS, 0);
    }
    plan_round(job);
    return PLAN_OBSERVE;
}

static int end(struct job *job, bool ok, struct error *e)
{
    struct state *st = job->state;
    if (st)
        multi_select_free(&st->ranks);
    return 0;
}

const struct filter filter_arcee_fusion = {
    .name = "arcee-fusion",
    .summary = "Join two models' weights by taking over what matters most (Arcee Fusion)",
    .notes = "  unpack base math | arcee-fusion | pack --like base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_WEIGHTS,
    .role = ROLE_FILTER,
    .open = open_fusion,
    .scope = SCOPE_ROW, /* and it sees all of the tensor before it writes */
    .begin = begin,
    .observe = observe,
    .accumulate = merge,
    .decide = decide,
    .transform = transform,
    .end = end,
};
