/* nuslerp: spherical interpolation by weights, of whole tensors, rows or columns
 *
 *     t  = w_2 / (w_1 + w_2)                        1/2 where |w_1 + w_2| < 1e-6
 *     th = angle between v_1 and v_2                                       mergekit's nuslerp
 *     y  = (sin((1 - t) th) v_1 + sin(t th) v_2) / sin th
 *     y  = (1 - t) v_1 + t v_2                      where sin th is next to 0: v_2 = +-c v_1
 *
 * v is a whole tensor; with --along rows each row of a matrix (the last dimension), with --along
 * columns each column (the first dimension). mergekit's names are the other way round: rows are
 * nuslerp_row_wise: false. A tensor of one dimension is one vector always. Works on task vectors
 * (mergekit's nuslerp with a base_model) and on weights.
 *
 *     tv-extract base math code | weigh math=0.7 code=0.3 | nuslerp | pack --base base merged/
 *     unpack math code | weigh math=0.7 code=0.3 | nuslerp --along rows | pack --like math merged/
 *
 * Next to 0 is 1e-7, the rounding of F32, below which opposite vectors would be divided by noise.
 */
#include "filter.h"
#include "gram_join.h"

struct options {
    int along;
    const char *name;
};

enum { ALONG_TENSOR, ALONG_ROWS, ALONG_COLUMNS };

static const struct option_row rows[] = {
    {"along", OPTION_CHOICE, offsetof(struct options, along), "tensor|rows|columns",
     .help = "what one vector is: the whole tensor (default), each row, or each column",
     .choices = "tensor|rows|columns", .default_value = "tensor"},
    JOIN_NAME_ROW(options, name),
    {0}};

/* <v_1, v_1>, <v_2, v_2>, <v_1, v_2>; and what becomes of them, y = c[0] v_1 + c[1] v_2. */
struct pair {
    union {
        double dots[3];
        double c[2];
    };
};

/* One tensor. Element i belongs to vector i mod period; period 1: to the only one. */
struct state {
    double t;
    size_t period;
    struct pair *pairs; /* (period), NULL: rows, which are worked out as they come */
};

/* ---- the method ------------------------------------------------------------------------------ */

#define TINY 1e-7 /* a norm, or a sine, that is next to 0 */

static struct pair interpolate(struct pair p, double t)
{
    double n1 = sqrt(p.dots[0]), n2 = sqrt(p.dots[1]);
    double cosine = p.dots[2] / ((n1 > TINY ? n1 : TINY) * (n2 > TINY ? n2 : TINY));
    struct pair result = {.c = {1 - t, t}};
    if (1 - cosine * cosine > TINY * TINY) /* sin th > TINY */
        gram_join_slerp_coefficients(cosine, t, result.c);
    return result;
}

static struct pair dots_of(const float *x, const float *y, size_t n)
{
    return (struct pair){
        .dots = {vector_math_dot(x, x, n), vector_math_dot(y, y, n), vector_math_dot(x, y, n)}};
}

/* Adds to the pairs of `period` columns, of which x and y begin with the first. */
static void add_columns(const float *x, const float *y, size_t n, size_t period, struct pair *pairs)
{
    for (size_t i = 0; i < n; i += period)
        for (size_t j = 0; j < period && i + j < n; j++) {
            double a = x[i + j], b = y[i + j];
            pairs[j].dots[0] += a * a;
            pairs[j].dots[1] += b * b;
            pairs[j].dots[2] += a * b;
        }
}

/* x becomes the result, here and below */
static void mix(const struct pair *p, float *x, float *y, size_t n)
{
    float *const both[] = {x, y};
    vector_math_weighted_sum(both, p->c, 2, 1, x, n);
}

static void mix_rows(double t, float *x, float *y, size_t n, size_t columns)
{
    for (size_t i = 0; i < n; i += columns) {
        struct pair p = interpolate(dots_of(x + i, y + i, columns), t);
        mix(&p, x + i, y + i, columns);
    }
}

/* The first element belongs to column `first` mod period. */
static void mix_columns(const struct pair *pairs, size_t period, size_t first, float *x,
                        const float *y, size_t n)
{
    size_t j = first % period;
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(pairs[j].c[0] * (double)x[i] + pairs[j].c[1] * (double)y[i]);
        j = j + 1 < period ? j + 1 : 0;
    }
}

static int transform(const struct job *job, struct block *b, struct error *e)
{
    const struct state *st = job->state;
    if (!st)
        return join_identical_vectors(job->in, b, e);
    float *x = block_floats(b, 0), *y = block_floats(b, 1);
    if (!st->pairs)
        mix_rows(st->t, x, y, b->n, b->columns);
    else if (st->period == 1)
        mix(st->pairs, x, y, b->n);
    else
        mix_columns(st->pairs, st->period, b->first, x, y, b->n);
    b->n_vectors = 1;
    return 0;
}

/* ---- whole tensors and columns: inner products over all blocks ------------------------------- */

/* Of the vectors that a block touches, from that of its first element on. */
static size_t touched(const struct state *st, size_t n)
{
    return st->period < n ? st->period : n;
}

static int observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct state *st = job->state;
    struct pair *pairs = work;
    size_t m = touched(st, b->n);
    if (st->period == 1) {
        *pairs = dots_of(block_floats(b, 0), block_floats(b, 1), b->n);
        return 0;
    }
    for (size_t j = 0; j < m; j++)
        pairs[j] = (struct pair){.dots = {0}};
    add_columns(block_floats(b, 0), block_floats(b, 1), b->n, m, pairs);
    return 0;
}

static int merge(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct state *st = job->state;
    const struct pair *pairs = work;
    for (size_t j = 0; j < touched(st, b->n); j++)
        for (size_t i = 0; i < 3; i++)
            st->pairs[(b->first + j) % st->period].dots[i] += pairs[j].dots[i];
    return 0;
}

static int decide(struct job *job, struct error *e)
{
    struct state *st = job->state;
    for (size_t j = 0; st && st->pairs && j < st->period; j++)
        st->pairs[j] = interpolate(st->pairs[j], st->t);
    return VERDICT_DONE;
}

/* ---- around it ------------------------------------------------------------------------------- */

static int begin(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct tensor *t = job->in;
    if (join_check_weights(job->stage, t, JOIN_VECTOR_WEIGHTS, e))
        return -1;
    if (!tensor_is_float(t) || tensor_elements(t) == 0)
        return PLAN_TRANSFORM;
    struct state *st = job->state = arena_alloc(job->arena, 1, sizeof *st);
    double sum = t->vectors[0].weights[0] + t->vectors[1].weights[0];
    st->t = fabs(sum) < 1e-6 ? 0.5 : t->vectors[1].weights[0] / sum;
    if (o->along == ALONG_ROWS)
        return PLAN_TRANSFORM;
    bool columns = o->along == ALONG_COLUMNS && t->rank > 1;
    st->period = columns ? tensor_elements(t) / t->shape[0] : 1;
    st->pairs = arena_alloc(job->arena, st->period, sizeof *st->pairs);
    job->work_size = touched(st, tensor_block_elements(t)) * sizeof *st->pairs;
    return PLAN_OBSERVE;
}

static int open_nuslerp(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    return join_declare_result(h, o->name, 2, 2, e);
}

static enum scope scope(const struct stage *s)
{
    const struct options *o = s->options;
    return o->along == ALONG_ROWS ? SCOPE_ROW : SCOPE_TENSOR;
}

const struct filter filter_nuslerp = {
    .name = "nuslerp",
    .summary = "Join two vectors by spherical interpolation, by weight (NuSLERP)",
    .notes = "  tv-extract base math code | weigh math=0.7 code=0.3 | nuslerp |\n"
             "      pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS | KIND_WEIGHTS,
    .role = ROLE_FILTER,
    .open = open_nuslerp,
    .choose_scope = scope,
    .begin = begin,
    .observe = observe,
    .accumulate = merge,
    .decide = decide,
    .transform = transform,
};
