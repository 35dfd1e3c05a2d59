/* sce-select: keep the elements that differ most between the experts (SCE)
 *
 *     v_i = population variance of tau_1,i ... tau_K,i
 *     keep the k = floor(F N) elements of largest v_i in every vector      SCE, step 1, "select"
 *
 * where N counts the elements with v_i != 0. FuseChat: Wan et al. 2024, arXiv 2408.07990, section
 * 3.3.
 *
 *     tv-extract base math code chat | sce-select --topk 0.1 | sce-weigh |
 *         elect-sign --unweighted | combine --normalize=agreeing --floor 1e-6 |
 *         pack --base base merged/
 *
 * As in mergekit the variance is computed in double and rounded to F32, F N is a product in F32,
 * and F = 1 changes nothing. Of equal variances the one with the lower flat index counts as larger.
 * If k is 0 (one expert, or no differences) all elements are dropped.
 */
#include "filter.h"
#include "magnitude_select.h"
#include "simd.h"
#include "stage_rules.h"

struct options {
    struct tensor_rules topk;
};

static const struct option_row rows[] = {
    {"topk", OPTION_RULES, offsetof(struct options, topk), "F",
     .help = "fraction to keep of the elements that differ: a number in [0, 1], or rules such as "
             "/*mlp*=0.5 (1 where none matches; required; repeatable)",
     .range = {.low = 0, .high = 1}, .required = true, .per_tensor = true},
    {0}};

#define STRIP      1024
#define COUNT_SIZE 64 /* bytes of the count in the work area, behind the variances */

/* One tensor. The elements that differ are counted in the same rounds that find the k largest
 * variances; the round over a sample estimates the count. */
struct state {
    double topk;
    uint64_t n_differing, n_observed; /* in the current round */
    bool counted;                     /* the count is exact, not an estimate */
    struct magnitude_select *select;
    size_t variances_size; /* bytes of the variances in the work area */
};

/* ---- the method ------------------------------------------------------------------------------ */

/* v_i of n elements from x[k][first] on, x: (K, ...). Multiplying by the inverse of a power of two
 * gives the same bits as dividing by it. */
TV_INLINE void compute_variance_unrolled(float *const *x, size_t K, size_t first, size_t n,
                                         float *restrict v)
{
    bool power_of_two = (K & (K - 1)) == 0;
    double count = (double)K, inverse = 1 / count;
    for (size_t i = 0; i < n; i++) {
        double mean = 0, squares = 0;
        for (size_t k = 0; k < K; k++)
            mean += (double)x[k][first + i];
        mean = power_of_two ? mean * inverse : mean / count;
        for (size_t k = 0; k < K; k++) {
            double d = (double)x[k][first + i] - mean;
            squares += d * d;
        }
        v[i] = (float)(power_of_two ? squares * inverse : squares / count);
    }
}

TV_CLONES static void compute_variance(float *const *x, size_t K, size_t first, size_t n, float *v)
{
    switch (K) { /* the loops over a constant K are unrolled */
    case 2:
        compute_variance_unrolled(x, 2, first, n, v);
        break;
    case 3:
        compute_variance_unrolled(x, 3, first, n, v);
        break;
    case 4:
        compute_variance_unrolled(x, 4, first, n, v);
        break;
    default:
        compute_variance_unrolled(x, K, first, n, v);
    }
}

TV_CLONES static uint64_t count_differing(const float *v, size_t n)
{
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += v[i] != 0;
    return count;
}

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    const struct state *st = job->state;
    struct magnitude_cut cut = magnitude_select_result(st->select);
    float *const *x = (float *const *)b->data;
    float v[STRIP];
    for (size_t i = 0; i < b->n; i += STRIP) {
        size_t n = b->n - i < STRIP ? b->n - i : STRIP;
        compute_variance(x, b->n_vectors, i, n, v);
        for (size_t k = 0; k < b->n_vectors; k++)
            magnitude_cut_keep_by_other_vector(&cut, true, v, x[k] + i, b->first + i, n);
    }
    return 0;
}

/* ---- rounds: count the differing elements, find the k largest variances ------------------- */

static int observe_block(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct state *st = job->state;
    float *v = work;
    uint64_t *n_differing = (uint64_t *)((char *)work + st->variances_size);
    compute_variance((float *const *)b->data, b->n_vectors, 0, b->n, v);
    *n_differing = count_differing(v, b->n);
    magnitude_select_observe_block(st->select, v, b->first, b->n,
                                   (char *)work + st->variances_size + COUNT_SIZE);
    return 0;
}

static int accumulate_block(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct state *st = job->state;
    const char *count = (char *)work + st->variances_size;
    st->n_differing += *(const uint64_t *)count;
    st->n_observed += b->n;
    magnitude_select_accumulate_block(st->select, count + COUNT_SIZE);
    return 0;
}

static void plan_selection_round(struct job *job)
{
    struct state *st = job->state;
    st->n_differing = st->n_observed = 0;
    job->sample_elements = magnitude_select_sample_elements(st->select);
    job->work_size = st->variances_size + COUNT_SIZE +
                     magnitude_select_work_size(st->select, job->block_elements);
}

/* An estimate of k strictly between 0 and n, because 0 and n need no selection. */
static uint64_t clamp_count_estimate(uint64_t k, uint64_t n)
{
    return k == 0 ? 1 : k >= n && n > 1 ? n - 1 : k;
}

/* k after a round, from the elements that differ in it. */
static void set_selected_count(struct state *st, uint64_t n)
{
    double share = (double)st->n_differing / (double)st->n_observed;
    uint64_t n_differing = st->n_observed < n ? (uint64_t)(share * (double)n) : st->n_differing;
    uint64_t k = (uint64_t)((float)n_differing * (float)st->topk);
    st->counted = st->n_observed == n;
    magnitude_select_set_count_above(st->select, st->counted ? k : clamp_count_estimate(k, n));
}

static int end_round(struct job *job, struct error *e)
{
    struct state *st = job->state;
    if (!st->counted)
        set_selected_count(st, tensor_elements(job->in));
    if (!magnitude_select_decide_after_round(st->select)) {
        plan_selection_round(job);
        return VERDICT_AGAIN;
    }
    for (size_t k = 0; k < job->out->n_vectors; k++) {
        struct vector *v = &job->out->vectors[k];
        vector_set_attributes(v, v->l1_before, v->keep_probability);
    }
    return VERDICT_DONE;
}

/* ---- begin and end --------------------------------------------------------------------------- */

static int begin_tensor(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct tensor *t = job->in;
    double topk = stage_rules_tensor_value(&o->topk, t, 1);
    if (topk >= 1 || tensor_elements(t) == 0)
        return PLAN_PASS_THROUGH;
    struct state *st = job->state = arena_alloc(job->arena, 1, sizeof *st);
    uint64_t n = tensor_elements(t);
    st->topk = topk;
    st->variances_size = (job->block_elements * sizeof(float) + 63) / 64 * 64;
    st->select = magnitude_select_new(n, clamp_count_estimate((uint64_t)((double)n * topk), n),
                                      TIE_LOWER_INDEX_WINS, 0);
    plan_selection_round(job);
    return PLAN_OBSERVE;
}

static int end_tensor(struct job *job, bool ok, struct error *e)
{
    struct state *st = job->state;
    if (st)
        magnitude_select_free(st->select);
    return 0;
}

const struct filter filter_sce_select = {
    .name = "sce-select",
    .summary = "Keep the elements that differ most between the experts (SCE)",
    .step = STEP_SPARSIFY,
    .notes = "  tv-extract base math code chat | sce-select --topk 0.1 | sce-weigh |\n"
             "      elect-sign --unweighted | combine --normalize=agreeing --floor 1e-6 |\n"
             "      pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .across_vectors = true,
    .element_wise = true,
    .only_drops_elements = true,
    .scope = SCOPE_TENSOR,
    .begin_tensor = begin_tensor,
    .observe_block = observe_block,
    .accumulate_block = accumulate_block,
    .end_round = end_round,
    .transform_block = transform_block,
    .end_tensor = end_tensor,
};
