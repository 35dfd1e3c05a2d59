/* trim: keep the largest elements of each task vector (TIES); drop outliers too (Breadcrumbs)
 *
 *     keep the k = floor(density n) largest |tau_i|                     TIES, section 3, step 1
 *     leave out the floor(gamma n) largest, then keep the k next        Breadcrumbs, section 3
 *
 * TIES-Merging: Yadav et al. 2023, arXiv 2306.01708. Model Breadcrumbs: Davari & Belilovsky 2023,
 * arXiv 2312.06795; gamma is --outliers, and density what lies between its two masks.
 *
 *     tv-extract base math code | trim --density 0.2 | elect-sign | combine --normalize=agreeing |
 *         pack --base base merged/
 *
 * Exactly k elements stay, at least one; n counts one tensor (mergekit), or with --scope model all
 * of them (the TIES paper). Of equal magnitudes the lower flat index counts as larger; with
 * --outliers the higher one, as in mergekit's ascending sort. Where density and gamma add up to
 * more than 1, fewer outliers go. Records l1_before per tensor, for rescale --by l1.
 */
#include "band.h"
#include "filter.h"

#include <stdlib.h>

struct options {
    struct rules density, outliers;
    int scope;
    bool bug_compatible;
};

enum { SCOPED_TENSOR, SCOPED_MODEL };

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"density", OPTION_RULES, FIELD(density), "D",
     .help = "share of the elements to keep: a number in (0, 1], or rules such as math/*mlp*=0.5 "
             "(required; may be repeated)",
     .range = {0, 1, .low_open = true}, .required = true},
    {"outliers", OPTION_RULES, FIELD(outliers), "G",
     .help = "share of the elements, the largest, to leave out first (Breadcrumbs); a number in "
             "[0, 1), or rules; may be repeated",
     .range = {0, 1, .high_open = true}},
    {"scope", OPTION_CHOICE, FIELD(scope), "tensor|model",
     .help = "what the shares are of: each tensor (default), or all tensors together",
     .choices = "tensor|model", .preset = "tensor"},
    {"bug-compatible", OPTION_FLAG, FIELD(bug_compatible),
     .help = "where no element is an outlier (gamma n < 1), keep nothing, as mergekit does"},
    {0}};
#undef FIELD

/* One tensor: per vector the band of what stays. */
struct state {
    struct band **bands;
    uint64_t *offset; /* [vector]: elements before this tensor in its scope */
    size_t area;      /* bytes of one vector's part of the work area */
};

/* Scope model: the bands of the models, and where each tensor begins in them. */
struct whole {
    struct band **bands; /* [model] */
    uint64_t *n;         /* [model] */
    double *shares;      /* [model][2]: density and outliers */
    uint64_t *offset;    /* [tensor][model] */
};

/* ---- the method ------------------------------------------------------------------------------ */

static struct band *new_band(const struct stage *s, uint64_t n, double density, double gamma)
{
    const struct options *o = s->options;
    bool breadcrumbs = rules_count(&o->outliers) > 0;
    uint64_t kept = (uint64_t)(density * (double)n), top = (uint64_t)(gamma * (double)n);
    if (density >= 1)
        return band_new(n, n, 0, SELECT_LOWER_FIRST);
    if (kept == 0)
        kept = 1;
    if (kept + top > n)
        top = n - kept;
    if (breadcrumbs && top == 0 && o->bug_compatible)
        kept = 0;
    return band_new(n, kept, top, breadcrumbs ? SELECT_HIGHER_FIRST : SELECT_LOWER_FIRST);
}

static int transform(const struct job *job, struct block *b, struct error *e)
{
    const struct state *st = job->state;
    (void)e;
    for (size_t k = 0; k < b->n_vectors; k++)
        band_apply(st->bands[k], block_x(b, k), st->offset[k] + b->first, b->n);
    return 0;
}

/* ---- finding the bands ----------------------------------------------------------------------- */

static void plan_round(struct job *job)
{
    struct state *st = job->state;
    bool all = false;
    job->head = st->area = 0;
    for (size_t k = 0; k < job->in->n_vectors; k++) {
        size_t head = band_head(st->bands[k]);
        size_t area = band_work_size(st->bands[k], tensor_block_elements(job->in));
        all |= head == 0;
        job->head = head > job->head ? head : job->head;
        st->area = area > st->area ? area : st->area;
    }
    if (all)
        job->head = 0;
    job->work_size = st->area * job->in->n_vectors;
}

static int observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct state *st = job->state;
    (void)e;
    for (size_t k = 0; k < b->n_vectors; k++)
        band_observe(st->bands[k], block_x(b, k), st->offset[k] + b->first, b->n,
                     (char *)work + k * st->area);
    return 0;
}

static int merge(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct state *st = job->state;
    (void)e;
    for (size_t k = 0; k < b->n_vectors; k++)
        band_merge(st->bands[k], b->n, (char *)work + k * st->area);
    return 0;
}

static void set_attributes(struct job *job)
{
    const struct state *st = job->state;
    for (size_t k = 0; k < job->out->n_vectors; k++) {
        struct vector *v = &job->out->vectors[k];
        double l1 = v->l1_before;
        if (isnan(l1) && !job->stage->data)
            l1 = band_l1(st->bands[k]);
        if (band_is_everything(st->bands[k]))
            v->l1_before = l1;
        else
            vector_set_attributes(v, l1, v->keep);
    }
}

static int decide(struct job *job, struct error *e)
{
    struct whole *w = job->stage->data;
    struct band **bands = w ? w->bands : ((struct state *)job->state)->bands;
    size_t n = w ? job->stage->in->n_models : job->in->n_vectors;
    bool done = true;
    (void)e;
    for (size_t i = 0; i < n; i++)
        done &= !bands[i] || band_decide(bands[i]);
    if (w)
        return done ? VERDICT_DONE : VERDICT_AGAIN;
    if (done)
        set_attributes(job);
    else
        plan_round(job);
    return done ? VERDICT_DONE : VERDICT_AGAIN;
}

static int begin(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct whole *w = job->stage->data;
    const struct tensor *t = job->in;
    (void)e;
    if (tensor_elements(t) == 0)
        return PLAN_PASS;
    struct state *st = job->state = mem_alloc(1, sizeof *st);
    st->bands = mem_alloc(t->n_vectors, sizeof *st->bands);
    st->offset = mem_alloc(t->n_vectors, sizeof *st->offset);
    for (size_t k = 0; k < t->n_vectors; k++) {
        const struct vector *v = &t->vectors[k];
        if (w) {
            st->bands[k] = w->bands[v->model];
            st->offset[k] = w->offset[job->index * job->stage->in->n_models + v->model];
        } else {
            st->bands[k] = new_band(job->stage, tensor_elements(t),
                                    stage_rule(job->stage, &o->density, t, v, 1),
                                    stage_rule(job->stage, &o->outliers, t, v, 0));
        }
    }
    if (w && !job->stage->deciding) {
        set_attributes(job);
        return PLAN_TRANSFORM;
    }
    plan_round(job);
    return PLAN_OBSERVE;
}

static int end(struct job *job, bool ok, struct error *e)
{
    struct state *st = job->state;
    (void)ok;
    (void)e;
    if (!st)
        return 0;
    for (size_t k = 0; !job->stage->data && k < job->in->n_vectors; k++)
        band_free(st->bands[k]);
    free(st->bands);
    free(st->offset);
    free(st);
    return 0;
}

/* ---- scope model ----------------------------------------------------------------------------- */

static int add_tensor(struct stage *s, const struct header *h, size_t index, struct error *e)
{
    const struct options *o = s->options;
    const struct tensor *t = &h->tensors[index];
    struct whole *w = s->data;
    for (size_t k = 0; k < t->n_vectors; k++) {
        const struct vector *v = &t->vectors[k];
        double *shares = &w->shares[2 * v->model];
        double density = stage_rule(s, &o->density, t, v, 1);
        double gamma = stage_rule(s, &o->outliers, t, v, 0);
        if (w->n[v->model] && (shares[0] != density || shares[1] != gamma))
            return error_set(e,
                             "tensor %s of %s has other shares than those before it; with --scope "
                             "model they cannot vary (--exclude leaves a tensor alone)",
                             t->name, h->models[v->model].name);
        shares[0] = density;
        shares[1] = gamma;
        w->offset[index * h->n_models + v->model] = w->n[v->model];
        w->n[v->model] += tensor_elements(t);
    }
    return 0;
}

static int open_trim(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    if (stage_check_rules(s, &o->density, "--density", h, e) ||
        stage_check_rules(s, &o->outliers, "--outliers", h, e))
        return -1;
    if (o->scope == SCOPED_TENSOR)
        return 0;
    struct whole *w = s->data = mem_alloc(1, sizeof *w);
    w->bands = mem_alloc(h->n_models, sizeof *w->bands);
    w->n = mem_alloc(h->n_models, sizeof *w->n);
    w->shares = mem_alloc(2 * h->n_models, sizeof *w->shares);
    w->offset = mem_alloc(h->n_tensors * h->n_models, sizeof *w->offset);
    for (size_t i = 0; i < h->n_tensors; i++)
        if (!stage_excludes(s, &h->tensors[i]) && add_tensor(s, h, i, e))
            return -1;
    for (size_t m = 0; m < h->n_models; m++)
        if (w->n[m])
            w->bands[m] = new_band(s, w->n[m], w->shares[2 * m], w->shares[2 * m + 1]);
    return 0;
}

static int close_trim(struct stage *s, bool ok, struct error *e)
{
    struct whole *w = s->data;
    (void)ok;
    (void)e;
    if (!w)
        return 0;
    for (size_t m = 0; m < s->in->n_models; m++)
        band_free(w->bands[m]);
    free(w->bands);
    free(w->n);
    free(w->shares);
    free(w->offset);
    free(w);
    return 0;
}

static enum scope scope(const struct stage *s)
{
    const struct options *o = s->options;
    return o->scope == SCOPED_MODEL ? SCOPE_MODEL : SCOPE_TENSOR;
}

const struct filter filter_trim = {
    .name = "trim",
    .summary = "Keep the largest elements of each task vector (TIES, Breadcrumbs)",
    .notes = "  tv-extract base math code | trim --density 0.2 | elect-sign |\n"
             "      combine --normalize=agreeing | pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .element_wise = true,
    .open = open_trim,
    .scope = scope,
    .begin = begin,
    .observe = observe,
    .merge = merge,
    .decide = decide,
    .transform = transform,
    .end = end,
    .close = close_trim,
};
