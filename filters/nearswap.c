/* nearswap: take another model's elements where the two models are close
 *
 *     w = clamp(t / max(|b - x|, 1e-6), 0, 1)             alchemonaut's NearSwap; mergekit
 *     y = w x + (1 - w) b
 *
 * b is the first vector of the stream, x the second. Elements of b within t of x become x; the
 * others move by t toward x.
 *
 *     unpack base math | nearswap --t 0.001 | pack --like base merged/
 */
#include "filter.h"
#include "join.h"
#include "simd.h"
#include "stage_rules.h"

struct options {
    struct tensor_rules t;
    const char *name;
};

static const struct option_row rows[] = {
    {"t", OPTION_RULES, offsetof(struct options, t), "T",
     .help =
         "largest change of an element of the first model, 0 or more: a number, or rules such as "
         "/*mlp*=0.01 (required; repeatable)",
     .range = {0, INFINITY, .high_open = true}, .required = true, .per_tensor = true,
     .every_tensor = true},
    JOIN_NAME_ROW(options, name),
    {0}};

/* b: (n), becomes y */
TV_CLONES static void interpolate_by_distance(float *restrict b, const float *restrict x, double t,
                                              size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double distance = fabs((double)b[i] - (double)x[i]);
        double w = t / (distance > 1e-6 ? distance : 1e-6);
        w = w < 1 ? w : 1;
        b[i] = (float)(w * (double)x[i] + (1 - w) * (double)b[i]);
    }
}

static int open_nearswap(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    return join_declare_merged_model(h, o->name, 2, 2, e);
}

static int begin_tensor(struct job *job, struct error *e)
{
    return join_use_weights(job, JOIN_NO_WEIGHTS, e) ? -1 : PLAN_TRANSFORM;
}

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    const struct options *o = job->stage->options;
    if (!tensor_is_float(job->in))
        return join_require_identical(job->in, b, e);
    interpolate_by_distance(block_floats(b, 0), block_floats(b, 1),
                            stage_rules_tensor_value(&o->t, job->in, NAN), b->n);
    b->n_vectors = 1;
    return 0;
}

const struct filter filter_nearswap = {
    .name = "nearswap",
    .summary =
        "Join two models' weights, taking elements of the second where they are close (NearSwap)",
    .step = STEP_JOIN,
    .notes = "  unpack base math | nearswap --t 0.001 | pack --like base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_WEIGHTS,
    .role = ROLE_FILTER,
    .open = open_nearswap,
    .begin_tensor = begin_tensor,
    .transform_block = transform_block,
};
