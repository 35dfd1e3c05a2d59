/* nuslerp: spherical interpolation by weights, of whole tensors, rows or columns
 *
 *     t  = w_2 / (w_1 + w_2)                        1/2 where |w_1 + w_2| < 1e-6
 *     th = angle between v_1 and v_2                                       mergekit's nuslerp
 *     y  = (sin((1 - t) th) v_1 + sin(t th) v_2) / sin th
 *     y  = (1 - t) v_1 + t v_2                      if sin th is near 0: v_2 = +-c v_1
 *
 * v is a whole tensor; with --along rows each row of a matrix (the last dimension), with --along
 * columns each column (the first dimension). mergekit's names are reversed: rows are
 * nuslerp_row_wise: false. A tensor of one dimension is always one vector. Works on task vectors
 * (mergekit's nuslerp with a base_model) and on weights.
 *
 *     tv-extract base math code | weigh math=0.7 code=0.3 | nuslerp | pack --base base merged/
 *     unpack math code | weigh math=0.7 code=0.3 | nuslerp --along rows | pack --like math merged/
 *
 * Near 0 is below 1e-7, the rounding of F32, where opposite vectors would be divided by noise.
 */
#include "filter.h"
#include "gram_join.h"
#include "stage_rules.h"

struct options {
    struct tensor_rules along;
    const char *name;
};

enum { ALONG_TENSOR, ALONG_ROWS, ALONG_COLUMNS };

static const struct option_row rows[] = {
    {"along", OPTION_CHOICE_RULES, offsetof(struct options, along), "WHAT",
     .help = "interpolate the whole tensor (tensor, the default), each row (rows), each column "
             "(columns), or as rules say: /*mlp*=rows (repeatable)",
     .choices = "tensor|rows|columns", .per_tensor = true},
    JOIN_NAME_ROW(options, name),
    {0}};

/* A pair v_1, v_2: first <v_1, v_1>, <v_2, v_1>, <v_2, v_2>, then y = c[0] v_1 + c[1] v_2. */
struct pair {
    union {
        double dots[3];
        double c[2];
    };
};

/* One tensor. Element i belongs to pair i mod n_pairs. */
struct state {
    double t;
    size_t n_pairs;     /* the columns; 1: the whole tensor */
    struct pair *pairs; /* (n_pairs); NULL with --along rows, which needs no round */
};

/* ---- the method ------------------------------------------------------------------------------ */

#define NEAR_ZERO 1e-7 /* of a norm, or of a sine */

/* The coefficients of a pair, from its inner products. */
static struct pair compute_slerp_coefficients(struct pair p, double t)
{
    double n1 = sqrt(p.dots[0]), n2 = sqrt(p.dots[2]);
    double cosine =
        p.dots[1] / ((n1 > NEAR_ZERO ? n1 : NEAR_ZERO) * (n2 > NEAR_ZERO ? n2 : NEAR_ZERO));
    struct pair result = {.c = {1 - t, t}};
    if (1 - cosine * cosine > NEAR_ZERO * NEAR_ZERO) /* sin th > NEAR_ZERO */
        gram_join_slerp_coefficients(cosine, t, result.c);
    return result;
}

static struct pair compute_pair_dot_products(float *x, float *y, size_t n)
{
    float *const both[] = {x, y};
    struct pair p;
    vector_math_gram(both, 2, 0, n, p.dots);
    return p;
}

/* Adds the inner products of the columns; element 0 of x and y belongs to pairs[0]. */
static void add_column_dot_products(const float *x, const float *y, size_t n, size_t columns,
                                    struct pair *pairs)
{
    for (size_t i = 0; i < n; i += columns)
        for (size_t j = 0; j < columns && i + j < n; j++) {
            double a = x[i + j], b = y[i + j];
            pairs[j].dots[0] += a * a;
            pairs[j].dots[1] += a * b;
            pairs[j].dots[2] += b * b;
        }
}

/* x = c[0] x + c[1] y */
static void combine_vector_pair(const struct pair *p, float *x, float *y, size_t n)
{
    float *const both[] = {x, y};
    vector_math_weighted_sum(both, p->c, 2, 1, x, n);
}

/* x = the interpolation of each row */
static void slerp_rows(double t, float *x, float *y, size_t n, size_t columns)
{
    for (size_t i = 0; i < n; i += columns) {
        struct pair p =
            compute_slerp_coefficients(compute_pair_dot_products(x + i, y + i, columns), t);
        combine_vector_pair(&p, x + i, y + i, columns);
    }
}

/* x = c[0] x + c[1] y; element 0 belongs to column `first` mod columns. */
static void combine_column_pairs(const struct pair *pairs, size_t columns, size_t first, float *x,
                                 const float *y, size_t n)
{
    size_t j = first % columns;
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(pairs[j].c[0] * (double)x[i] + pairs[j].c[1] * (double)y[i]);
        j = j + 1 < columns ? j + 1 : 0;
    }
}

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    const struct state *st = job->state;
    if (!st)
        return join_require_identical(job->in, b, e);
    float *x = block_floats(b, 0), *y = block_floats(b, 1);
    if (!st->pairs)
        slerp_rows(st->t, x, y, b->n, b->columns);
    else if (st->n_pairs == 1)
        combine_vector_pair(st->pairs, x, y, b->n);
    else
        combine_column_pairs(st->pairs, st->n_pairs, b->first, x, y, b->n);
    b->n_vectors = 1;
    return 0;
}

/* ---- the round: inner products of whole tensors and columns ---------------------------------- */

/* The number of pairs that n consecutive elements belong to. */
static size_t count_pairs_in_block(const struct state *st, size_t n)
{
    return st->n_pairs < n ? st->n_pairs : n;
}

static int observe_block(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct state *st = job->state;
    struct pair *pairs = work;
    size_t m = count_pairs_in_block(st, b->n);
    if (st->n_pairs == 1) {
        *pairs = compute_pair_dot_products(block_floats(b, 0), block_floats(b, 1), b->n);
        return 0;
    }
    for (size_t j = 0; j < m; j++)
        pairs[j] = (struct pair){.dots = {0}};
    add_column_dot_products(block_floats(b, 0), block_floats(b, 1), b->n, m, pairs);
    return 0;
}

static int accumulate_block(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct state *st = job->state;
    const struct pair *pairs = work;
    for (size_t j = 0; j < count_pairs_in_block(st, b->n); j++)
        for (size_t i = 0; i < 3; i++)
            st->pairs[(b->first + j) % st->n_pairs].dots[i] += pairs[j].dots[i];
    return 0;
}

static int end_round(struct job *job, struct error *e)
{
    struct state *st = job->state;
    for (size_t j = 0; st && st->pairs && j < st->n_pairs; j++)
        st->pairs[j] = compute_slerp_coefficients(st->pairs[j], st->t);
    return VERDICT_DONE;
}

/* ---- open and begin -------------------------------------------------------------------------- */

static int begin_tensor(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct tensor *t = job->in;
    if (join_use_weights(job, JOIN_VECTOR_WEIGHTS, e))
        return -1;
    if (!tensor_is_float(t) || tensor_elements(t) == 0)
        return PLAN_TRANSFORM;
    struct state *st = job->state = arena_alloc(job->arena, 1, sizeof *st);
    double sum = t->vectors[0].weights[0] + t->vectors[1].weights[0];
    st->t = fabs(sum) < 1e-6 ? 0.5 : t->vectors[1].weights[0] / sum;
    double along = stage_rules_tensor_value(&o->along, t, ALONG_TENSOR);
    if (along == ALONG_ROWS)
        return PLAN_TRANSFORM;
    bool columns = along == ALONG_COLUMNS && t->rank > 1;
    st->n_pairs = columns ? tensor_elements(t) / t->shape[0] : 1;
    st->pairs = arena_alloc(job->arena, st->n_pairs, sizeof *st->pairs);
    job->work_size = count_pairs_in_block(st, job->block_elements) * sizeof *st->pairs;
    return PLAN_OBSERVE;
}

static int open_nuslerp(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    return join_declare_merged_model(h, o->name, 2, 2, e);
}

static enum scope choose_scope(const struct stage *s)
{
    const struct options *o = s->options;
    return tensor_rules_contain_value(&o->along, ALONG_ROWS) ? SCOPE_ROW : SCOPE_TENSOR;
}

const struct filter filter_nuslerp = {
    .name = "nuslerp",
    .summary = "Join two vectors by spherical interpolation, by weight (NuSLERP)",
    .step = STEP_JOIN,
    .notes = "  tv-extract base math code | weigh math=0.7 code=0.3 | nuslerp |\n"
             "      pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS | KIND_WEIGHTS,
    .role = ROLE_FILTER,
    .open = open_nuslerp,
    .choose_scope = choose_scope,
    .begin_tensor = begin_tensor,
    .observe_block = observe_block,
    .accumulate_block = accumulate_block,
    .end_round = end_round,
    .transform_block = transform_block,
};
