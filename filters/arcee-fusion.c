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
#include "join.h"
#include "select.h"

#include <stdlib.h>

struct options {
    const char *name;
};

static const struct option_row rows[] = {JOIN_NAME_ROW(options, name), {0}};

enum { QUANTILES = 3 };
static const float quantiles[QUANTILES] = {0.25f, 0.5f, 0.75f};

/* One tensor. */
struct state {
    struct select *ranks[QUANTILES]; /* known at once where the quantile is the smallest element */
    float smallest;
    double threshold;
    size_t area; /* bytes of one rank's part of the work area */
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
    struct select_cut cut = select_result(st->ranks[q]);
    float x = st->smallest;
    if (!cut.all)
        memcpy(&x, &cut.bits, sizeof x);
    return x;
}

static int transform(const struct job *job, struct block *b, struct error *e)
{
    const struct state *st = job->state;
    if (!st)
        return join_bytes(job->in, b, e);
    float *a = block_x(b, 0), *c = block_x(b, 1);
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

#define ALIGN 64

static size_t aligned(size_t size)
{
    return (size + ALIGN - 1) / ALIGN * ALIGN;
}

/* The work area: the smallest element, a finding for each rank that is not known, then what
 * observe needs for itself. */
static void plan_round(struct job *job)
{
    struct state *st = job->state;
    size_t n = tensor_block_elements(job->in), unknown = 0;
    bool all = false;
    job->head = st->area = 0;
    for (size_t q = 0; q < QUANTILES; q++) {
        size_t head = select_head(st->ranks[q]);
        size_t area = aligned(select_work_size(st->ranks[q], n));
        if (select_is_known(st->ranks[q]))
            continue;
        unknown++;
        all |= head == 0;
        job->head = head > job->head ? head : job->head;
        st->area = area > st->area ? area : st->area;
    }
    if (all)
        job->head = 0;
    job->work_size = ALIGN + unknown * st->area + aligned(n * sizeof(float)) +
                     2 * tensor_columns(job->in) * sizeof(double);
}

static int observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct state *st = job->state;
    char *area = (char *)work + ALIGN;
    (void)e;
    for (size_t q = 0; q < QUANTILES; q++)
        area += select_is_known(st->ranks[q]) ? 0 : st->area;
    float *x = (float *)area, *smallest = work;
    importance(block_x(b, 0), block_x(b, 1), b->n, b->columns, x,
               (double *)(area + aligned(b->n * sizeof(float))));
    *smallest = INFINITY;
    for (size_t i = 0; i < b->n; i++)
        *smallest = x[i] < *smallest ? x[i] : *smallest;
    area = (char *)work + ALIGN;
    for (size_t q = 0; q < QUANTILES; q++) {
        if (select_is_known(st->ranks[q]))
            continue;
        select_observe(st->ranks[q], x, b->first, b->n, area);
        area += st->area;
    }
    return 0;
}

static int merge(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct state *st = job->state;
    const float *smallest = work;
    const char *area = (char *)work + ALIGN;
    (void)b;
    (void)e;
    st->smallest = *smallest < st->smallest ? *smallest : st->smallest;
    for (size_t q = 0; q < QUANTILES; q++) {
        if (select_is_known(st->ranks[q]))
            continue;
        select_merge(st->ranks[q], area);
        area += st->area;
    }
    return 0;
}

static int decide(struct job *job, struct error *e)
{
    struct state *st = job->state;
    bool done = true;
    (void)e;
    if (!st)
        return VERDICT_DONE;
    for (size_t q = 0; q < QUANTILES; q++)
        done &= select_is_known(st->ranks[q]) || select_decide(st->ranks[q]);
    if (!done) {
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
    return join_open(h, o->name, 2, 2, e);
}

static int begin(struct job *job, struct error *e)
{
    size_t n = tensor_elements(job->in);
    if (join_check_weights(job->stage, job->in, JOIN_ONES, e))
        return -1;
    if (!tensor_is_float(job->in) || n == 0)
        return PLAN_TRANSFORM;
    struct state *st = job->state = mem_alloc(1, sizeof *st);
    st->smallest = INFINITY;
    for (size_t q = 0; q < QUANTILES; q++) {
        size_t rank = (size_t)(quantiles[q] * (float)(n - 1));
        st->ranks[q] = select_new(n, n - rank, SELECT_LOWER_FIRST, 0);
    }
    plan_round(job);
    return PLAN_OBSERVE;
}

static int end(struct job *job, bool ok, struct error *e)
{
    struct state *st = job->state;
    (void)ok;
    (void)e;
    for (size_t q = 0; st && q < QUANTILES; q++)
        select_free(st->ranks[q]);
    free(st);
    return 0;
}

/* It needs whole rows, and sees all of the tensor before it writes. */
static enum scope scope(const struct stage *s)
{
    (void)s;
    return SCOPE_ROW;
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
    .scope = scope,
    .begin = begin,
    .observe = observe,
    .merge = merge,
    .decide = decide,
    .transform = transform,
    .end = end,
};
