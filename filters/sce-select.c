/* sce-select: keep the elements in which the experts differ most (SCE)
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
 * As in mergekit the variance is taken in double and rounded to F32, F N is a product in F32, and
 * F = 1 leaves all as it is. Of equal variances the lower flat index counts as larger. Where k is 0
 * (one expert, or all alike) everything becomes zero.
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
     .help = "share of the elements that differ to keep: a number in [0, 1], or rules such as "
             "/*mlp*=0.5 (1 where none matches; required; may be repeated)",
     .range = {0, 1}, .required = true, .per_tensor = true},
    {0}};

#define STRIP      1024
#define COUNT_SIZE 64 /* bytes of the count in the work area, between variances and finding */

/* One tensor: the elements that differ are counted in the same rounds in which the cut among them
 * is found; a sample's round guesses how many. */
struct state {
    double topk;
    uint64_t differing, seen; /* in the round at hand */
    bool counted;             /* the number of the differing is known, not guessed */
    struct magnitude_select *select;
    size_t area; /* bytes of the variances in the work area */
};

/* ---- the method ------------------------------------------------------------------------------ */

/* v_i over the K vectors x[k], n elements from x[k][first] on. Dividing by a power of two is
 * multiplying by its inverse. */
TV_INLINE void spread(float *const *x, size_t K, size_t first, size_t n, float *restrict v)
{
    bool halves = (K & (K - 1)) == 0;
    double count = (double)K, share = 1 / count;
    for (size_t i = 0; i < n; i++) {
        double mean = 0, squares = 0;
        for (size_t k = 0; k < K; k++)
            mean += (double)x[k][first + i];
        mean = halves ? mean * share : mean / count;
        for (size_t k = 0; k < K; k++) {
            double d = (double)x[k][first + i] - mean;
            squares += d * d;
        }
        v[i] = (float)(halves ? squares * share : squares / count);
    }
}

TV_CLONES static void variance(float *const *x, size_t K, size_t first, size_t n, float *v)
{
    switch (K) { /* with a constant number the loops over k unroll */
    case 2:
        spread(x, 2, first, n, v);
        break;
    case 3:
        spread(x, 3, first, n, v);
        break;
    case 4:
        spread(x, 4, first, n, v);
        break;
    default:
        spread(x, K, first, n, v);
    }
}

TV_CLONES static uint64_t count_differing(const float *v, size_t n)
{
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += v[i] != 0;
    return count;
}

static int transform(const struct job *job, struct block *b, struct error *e)
{
    const struct state *st = job->state;
    struct magnitude_cut cut = magnitude_select_result(st->select);
    float *const *x = (float *const *)b->data;
    float v[STRIP];
    for (size_t i = 0; i < b->n; i += STRIP) {
        size_t n = b->n - i < STRIP ? b->n - i : STRIP;
        variance(x, b->n_vectors, i, n, v);
        for (size_t k = 0; k < b->n_vectors; k++)
            magnitude_cut_apply_by(&cut, true, v, x[k] + i, b->first + i, n);
    }
    return 0;
}

/* ---- finding the cut ------------------------------------------------------------------------- */

static int observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct state *st = job->state;
    float *v = work;
    uint64_t *differing = (uint64_t *)((char *)work + st->area);
    variance((float *const *)b->data, b->n_vectors, 0, b->n, v);
    *differing = count_differing(v, b->n);
    magnitude_select_observe(st->select, v, b->first, b->n, (char *)work + st->area + COUNT_SIZE);
    return 0;
}

static int merge(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct state *st = job->state;
    const char *found = (char *)work + st->area;
    st->differing += *(const uint64_t *)found;
    st->seen += b->n;
    magnitude_select_merge(st->select, found + COUNT_SIZE);
    return 0;
}

static void plan_round(struct job *job)
{
    struct state *st = job->state;
    st->differing = st->seen = 0;
    job->sample_elements = magnitude_select_sample_elements(st->select);
    job->work_size = st->area + COUNT_SIZE +
                     magnitude_select_work_size(st->select, tensor_block_elements(job->in));
}

/* A guess must not seem to be an answer. */
static uint64_t inner(uint64_t above, uint64_t n)
{
    return above == 0 ? 1 : above >= n && n > 1 ? n - 1 : above;
}

static int decide(struct job *job, struct error *e)
{
    struct state *st = job->state;
    uint64_t n = tensor_elements(job->in);
    if (!st->counted) {
        double share = (double)st->differing / (double)st->seen;
        uint64_t differing = st->seen < n ? (uint64_t)(share * (double)n) : st->differing;
        st->counted = st->seen == n;
        uint64_t above = (uint64_t)((float)differing * (float)st->topk);
        magnitude_select_set_count(st->select, st->counted ? above : inner(above, n));
    }
    if (!magnitude_select_decide(st->select)) {
        plan_round(job);
        return VERDICT_AGAIN;
    }
    for (size_t k = 0; k < job->out->n_vectors; k++) {
        struct vector *v = &job->out->vectors[k];
        vector_set_attributes(v, v->l1_before, v->keep_probability);
    }
    return VERDICT_DONE;
}

/* ---- around it ------------------------------------------------------------------------------- */

static int begin(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct tensor *t = job->in;
    double topk = stage_rules_tensor_value(&o->topk, t, 1);
    if (topk >= 1 || tensor_elements(t) == 0)
        return PLAN_PASS_THROUGH;
    struct state *st = job->state = arena_alloc(job->arena, 1, sizeof *st);
    uint64_t n = tensor_elements(t);
    st->topk = topk;
    st->area = (tensor_block_elements(t) * sizeof(float) + 63) / 64 * 64;
    st->select =
        magnitude_select_new(n, inner((uint64_t)((double)n * topk), n), TIE_LOWER_INDEX_WINS, 0);
    plan_round(job);
    return PLAN_OBSERVE;
}

static int end(struct job *job, bool ok, struct error *e)
{
    struct state *st = job->state;
    if (st)
        magnitude_select_free(st->select);
    return 0;
}

const struct filter filter_sce_select = {
    .name = "sce-select",
    .summary = "Keep the elements in which the experts differ most (SCE)",
    .notes = "  tv-extract base math code chat | sce-select --topk 0.1 | sce-weigh |\n"
             "      elect-sign --unweighted | combine --normalize=agreeing --floor 1e-6 |\n"
             "      pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .element_wise = true,
    .only_drops_elements = true,
    .scope = SCOPE_TENSOR,
    .begin = begin,
    .observe = observe,
    .accumulate = merge,
    .decide = decide,
    .transform = transform,
    .end = end,
};
