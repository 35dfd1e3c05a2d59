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
 * Exactly k elements stay (TIES: at least one, unless the
 * density is 0); n counts one tensor (mergekit), or with --scope
 * model all of them (the TIES paper). Of equal magnitudes the lower flat index counts as larger;
 * with
 * --outliers the higher one, as in mergekit's ascending sort. Where density and gamma add up to
 * more than 1, fewer outliers go. Records l1_before per tensor, for rescale --by l1.
 */
#include "filter.h"
#include "rank_filter.h"
#include "stage_rules.h"

struct options {
    struct tensor_rules density, outliers;
    int scope;
    bool bug_compatible;
};

enum { SCOPED_TENSOR, SCOPED_MODEL };

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"density", OPTION_RULES, FIELD(density), "D",
     .help = "share of the elements to keep: a number in [0, 1], or rules such as math/*mlp*=0.5 "
             "(required; may be repeated)",
     .range = {0, 1}, .required = true},
    {"outliers", OPTION_RULES, FIELD(outliers), "G",
     .help = "share of the elements, the largest, to leave out first (Breadcrumbs); a number in "
             "[0, 1), or rules; may be repeated",
     .range = {0, 1, .high_open = true}},
    {"scope", OPTION_CHOICE, FIELD(scope), "tensor|model",
     .help = "what the shares are of: each tensor (default), or all tensors together",
     .choices = "tensor|model", .default_value = "tensor"},
    {"bug-compatible", OPTION_FLAG, FIELD(bug_compatible),
     .help = "where no element is an outlier (gamma n < 1), keep nothing, as mergekit does"},
    {0}};
#undef FIELD

/* ---- the method ------------------------------------------------------------------------------ */

/* Which of n elements stay. */
static struct magnitude_band *new_band(const struct options *o, uint64_t n, double density,
                                       double gamma)
{
    bool breadcrumbs = tensor_rules_count(&o->outliers) > 0;
    uint64_t kept = (uint64_t)(density * (double)n), top = (uint64_t)(gamma * (double)n);
    if (density >= 1)
        return magnitude_band_new(n, n, 0, TIE_LOWER_INDEX_WINS);
    if (kept == 0 && density > 0 && !breadcrumbs)
        kept = 1;
    if (kept + top > n)
        top = n - kept;
    if (breadcrumbs && top == 0 && o->bug_compatible)
        kept = 0;
    return magnitude_band_new(n, kept, top,
                              breadcrumbs ? TIE_HIGHER_INDEX_WINS : TIE_LOWER_INDEX_WINS);
}

static int transform(const struct job *job, struct block *b, struct error *e)
{
    magnitude_bands_apply(job->state, (float *const *)b->data, b->first, b->n);
    return 0;
}

/* ---- one tensor, or all of them -------------------------------------------------------------- */

static struct magnitude_bands tensor_bands(const struct job *job)
{
    const struct options *o = job->stage->options;
    const struct tensor *t = job->in;
    struct magnitude_bands bands = magnitude_bands_new(job->arena, t->n_vectors);
    for (size_t k = 0; k < t->n_vectors; k++)
        bands.bands[k] =
            new_band(o, tensor_elements(t),
                     stage_rules_vector_value(job->stage, &o->density, t, &t->vectors[k], 1),
                     stage_rules_vector_value(job->stage, &o->outliers, t, &t->vectors[k], 0));
    return bands;
}

static int begin(struct job *job, struct error *e)
{
    const struct rank_filter *w = job->stage->data;
    if (tensor_elements(job->in) == 0)
        return PLAN_PASS_THROUGH;
    return rank_filter_begin(job, w ? rank_filter_tensor_bands(w, job) : tensor_bands(job));
}

static int open_trim(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    if (o->scope == SCOPED_TENSOR)
        return 0;
    struct rank_filter *w = s->data = rank_filter_new(s, h);
    double *density = arena_alloc(&w->arena, h->n_models, sizeof *density);
    double *gamma = arena_alloc(&w->arena, h->n_models, sizeof *gamma);
    if (rank_filter_model_values(s, &o->density, h, 1, density, e) ||
        rank_filter_model_values(s, &o->outliers, h, 0, gamma, e))
        return -1;
    for (size_t m = 0; m < h->n_models; m++)
        if (w->model_elements[m])
            w->bands.bands[m] = new_band(o, w->model_elements[m], density[m], gamma[m]);
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
    .only_drops_elements = true,
    .open = open_trim,
    .choose_scope = scope,
    .begin = begin,
    .observe = rank_filter_observe,
    .accumulate = rank_filter_accumulate,
    .decide = rank_filter_decide,
    .transform = transform,
    .end = rank_filter_end,
    .close = rank_filter_close,
};
