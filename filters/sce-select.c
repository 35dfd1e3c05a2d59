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
#include "select.h"
#include "simd.h"

struct options {
    struct rules topk;
};

static const struct option_row rows[] = {
    {"topk", OPTION_RULES, offsetof(struct options, topk), "F",
     .help = "share of the elements that differ to keep: a number in [0, 1], or rules such as "
             "/*mlp*=0.5 (1 where none matches; required; may be repeated)",
     .range = {0, 1}, .required = true, .per_tensor = true},
    {0}};

#define STRIP 1024

/* One tensor: first the elements that differ are counted, then the cut among them is found. */
struct state {
    double topk;
    uint64_t differing;
    struct select *select; /* NULL while counting */
    size_t area;           /* bytes of the variances in the work area */
};

/* ---- the method ------------------------------------------------------------------------------ */

/* v_i over the K vectors x[k], n <= STRIP elements from x[k][first] on */
TV_CLONES static void variance(float *const *x, size_t K, size_t first, size_t n, float *v)
{
    double mean[STRIP] = {0}, squares[STRIP] = {0};
    for (size_t k = 0; k < K; k++)
        for (size_t i = 0; i < n; i++)
            mean[i] += (double)x[k][first + i];
    for (size_t i = 0; i < n; i++)
        mean[i] /= (double)K;
    for (size_t k = 0; k < K; k++)
        for (size_t i = 0; i < n; i++) {
            double d = (double)x[k][first + i] - mean[i];
            squares[i] += d * d;
        }
    for (size_t i = 0; i < n; i++)
        v[i] = (float)(squares[i] / (double)K);
}

static int transform(const struct job *job, struct block *b, struct error *e)
{
    const struct state *st = job->state;
    struct select_cut cut = select_result(st->select);
    float *const *x = (float *const *)b->data;
    float v[STRIP];
    (void)e;
    for (size_t first = 0; first < b->n; first += STRIP) {
        size_t n = b->n - first < STRIP ? b->n - first : STRIP;
        variance(x, b->n_vectors, first, n, v);
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < b->n_vectors && !select_keeps(&cut, v[i], b->first + first + i);
                 k++)
                x[k][first + i] = 0;
    }
    return 0;
}

/* ---- finding the cut ------------------------------------------------------------------------- */

static int observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct state *st = job->state;
    float *v = work;
    uint64_t *differing = (uint64_t *)((char *)work + st->area);
    (void)e;
    for (size_t i = 0; i < b->n; i += STRIP)
        variance((float *const *)b->data, b->n_vectors, i, b->n - i < STRIP ? b->n - i : STRIP,
                 v + i);
    if (st->select) {
        select_observe(st->select, v, b->first, b->n, (char *)work + st->area);
        return 0;
    }
    *differing = 0;
    for (size_t i = 0; i < b->n; i++)
        *differing += v[i] != 0;
    return 0;
}

static int merge(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct state *st = job->state;
    const void *found = (char *)work + st->area;
    (void)b;
    (void)e;
    if (st->select)
        select_merge(st->select, found);
    else
        st->differing += *(const uint64_t *)found;
    return 0;
}

static bool cut_is_known(struct state *st, uint64_t n)
{
    if (st->select)
        return select_decide(st->select);
    uint64_t k = (uint64_t)((float)st->differing * (float)st->topk);
    st->select = select_new(n, k, SELECT_LOWER_FIRST, 0);
    return select_is_known(st->select);
}

static int decide(struct job *job, struct error *e)
{
    struct state *st = job->state;
    (void)e;
    if (!cut_is_known(st, tensor_elements(job->in))) {
        job->head = select_head(st->select);
        job->work_size = st->area + select_work_size(st->select, tensor_block_elements(job->in));
        return VERDICT_AGAIN;
    }
    for (size_t k = 0; k < job->out->n_vectors; k++) {
        struct vector *v = &job->out->vectors[k];
        vector_set_attributes(v, v->l1_before, v->keep);
    }
    return VERDICT_DONE;
}

/* ---- around it ------------------------------------------------------------------------------- */

static int begin(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct tensor *t = job->in;
    double topk = stage_tensor_rule(&o->topk, t, 1);
    (void)e;
    if (topk >= 1 || tensor_elements(t) == 0)
        return PLAN_PASS;
    struct state *st = job->state = arena_alloc(job->arena, 1, sizeof *st);
    st->topk = topk;
    st->area = (tensor_block_elements(t) * sizeof(float) + 63) / 64 * 64;
    job->work_size = st->area + sizeof st->differing;
    return PLAN_OBSERVE;
}

static int end(struct job *job, bool ok, struct error *e)
{
    struct state *st = job->state;
    (void)ok;
    (void)e;
    if (st)
        select_free(st->select);
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
    .only_drops = true,
    .least_scope = SCOPE_TENSOR,
    .begin = begin,
    .observe = observe,
    .merge = merge,
    .decide = decide,
    .transform = transform,
    .end = end,
};
