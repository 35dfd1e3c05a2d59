/* fisher: average the models element by element, weighted by the diagonal of the Fisher information
 *
 *     y = sum_k w_k (F_k + 1e-10) x_k / sum_k w_k (F_k + 1e-10)
 *
 * F_k is the diagonal of model k's Fisher information: for each parameter, the mean over samples of
 * the squared gradient of the log-likelihood. Where all F_k are 0, y is the weighted mean. Works on
 * task vectors and on weights, with the same result. Fisher-weighted averaging: Matena and Raffel
 * 2022, arXiv 2111.09832, section 3.2.
 *
 *     tv-extract base math code | fisher --diagonal math=math.fisher --diagonal code=code.fisher |
 *         pack --base base merged/
 *
 * The constant 1e-10 is from the RegMean authors' code. Tensors that are in no file are averaged.
 */
#include "filter.h"
#include "join.h"
#include "model_statistics.h"

#include <math.h>

struct options {
    struct string_list diagonals;
    const char *name;
};

static const struct option_row rows[] = {
    {"diagonal", OPTION_MODEL_FILES, offsetof(struct options, diagonals), "MODEL=FILE",
     .help =
         "the diagonal of the model's Fisher information: a file with a tensor of the same name "
         "and shape for each weight; once per model",
     .required = true},
    JOIN_NAME_ROW(options, name),
    {0}};

#define SMOOTHING 1e-10
#define STRIP     1024 /* elements at a time */

/* One floating tensor. */
struct state {
    bool has_diagonals;
};

/* ---- the method ------------------------------------------------------------------------------ */

static int set_value_error(const struct job *job, size_t k, size_t element, double found,
                           struct error *e)
{
    const struct model_statistics *m = job->stage->data;
    return error_set(e,
                     "tensor %s of %s has %g at index %zu; expected a finite number that is not "
                     "negative",
                     job->in->name, model_statistics_file(m, job->in->vectors[k].model), found,
                     element);
}

/* F_k of n elements from flat index `first` on; 0 if no file has the tensor. */
static int read_diagonal(const struct job *job, size_t k, size_t first, size_t n, float *F,
                         struct error *e)
{
    const struct state *st = job->state;
    if (st->has_diagonals)
        model_statistics_read_f32(job->stage->data, job->in, k, first, n, F);
    for (size_t i = 0; i < n; i++) {
        if (!st->has_diagonals)
            F[i] = 0;
        if (!(F[i] >= 0 && isfinite(F[i])))
            return set_value_error(job, k, first + i, F[i], e);
    }
    return 0;
}

/* Writes y to the first vector, for n elements from i on. */
static int average_strip(const struct job *job, struct block *b, size_t i, size_t n,
                         struct error *e)
{
    double sum[STRIP] = {0}, divisor[STRIP] = {0};
    float F[STRIP];
    for (size_t k = 0; k < b->n_vectors; k++) {
        const float *x = block_floats(b, k) + i;
        double w = job->in->vectors[k].weights[0];
        if (read_diagonal(job, k, b->first + i, n, F, e))
            return -1;
        for (size_t j = 0; j < n; j++) {
            double c = w * ((double)F[j] + SMOOTHING);
            sum[j] += c * (double)x[j];
            divisor[j] += c;
        }
    }
    float *y = block_floats(b, 0) + i;
    for (size_t j = 0; j < n; j++)
        y[j] = (float)(sum[j] / divisor[j]);
    return 0;
}

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    if (!job->state)
        return join_require_identical(job->in, b, e);
    for (size_t i = 0; i < b->n; i += STRIP)
        if (average_strip(job, b, i, b->n - i < STRIP ? b->n - i : STRIP, e))
            return -1;
    b->n_vectors = 1;
    return 0;
}

/* ---- begin ----------------------------------------------------------------------------------- */

static int check_weights_are_positive(const struct job *job, struct error *e)
{
    double sum = 0;
    for (size_t k = 0; k < job->in->n_vectors; k++) {
        double w = job->in->vectors[k].weights[0];
        if (w < 0)
            return error_set(e, "tensor %s has a negative weight, %g; fisher computes a mean",
                             job->in->name, w);
        sum += w;
    }
    return sum > 0 ? 0 : error_set(e, "the weights of tensor %s add up to 0", job->in->name);
}

static int begin_tensor(struct job *job, struct error *e)
{
    const struct tensor *t = job->in;
    if (join_use_weights(job, JOIN_VECTOR_WEIGHTS, e))
        return -1;
    if (!tensor_is_float(t) || tensor_elements(t) == 0)
        return PLAN_TRANSFORM;
    if (check_weights_are_positive(job, e))
        return -1;
    int found = model_statistics_find(job->stage->data, t, e);
    if (found < 0)
        return -1;
    struct state *st = job->state = arena_alloc(job->arena, 1, sizeof *st);
    st->has_diagonals = found;
    return PLAN_TRANSFORM;
}

/* ---- open and close -------------------------------------------------------------------------- */

static bool set_diagonal_shape(const struct tensor *t, size_t *rank, uint64_t *shape)
{
    *rank = t->rank;
    for (size_t i = 0; i < t->rank; i++)
        shape[i] = t->shape[i];
    return tensor_is_float(t);
}

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    return model_statistics_check_options("diagonal", &o->diagonals, e);
}

static int open_fisher(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    s->data = model_statistics_open(s, "diagonal", &o->diagonals, set_diagonal_shape, h, e);
    return s->data ? join_declare_merged_model(h, o->name, 1, SIZE_MAX, e) : -1;
}

static int close_fisher(struct stage *s, bool ok, struct error *e)
{
    return model_statistics_close(s->data, ok, e);
}

const struct filter filter_fisher = {
    .name = "fisher",
    .summary = "Average the models, weighted by the diagonal of the Fisher information",
    .step = STEP_JOIN,
    .notes = "  tv-extract base math code |\n"
             "      fisher --diagonal math=math.fisher --diagonal code=code.fisher |\n"
             "      pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS | KIND_WEIGHTS,
    .role = ROLE_FILTER,
    .check_options = check_options,
    .open = open_fisher,
    .begin_tensor = begin_tensor,
    .transform_block = transform_block,
    .close = close_fisher,
};
