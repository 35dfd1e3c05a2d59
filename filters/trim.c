/* trim: keep the largest elements of each task vector (TIES); drop outliers too (Breadcrumbs)
 *
 *     keep the k = floor(density n) largest |tau_i|                  TIES, section 3, step 1
 *     drop the floor(gamma n) largest, then keep the k next          Breadcrumbs, section 3
 *
 * TIES-Merging: Yadav et al. 2023, arXiv 2306.01708. Model Breadcrumbs: Davari & Belilovsky 2023,
 * arXiv 2312.06795; gamma is --outliers, and density is the fraction between the paper's two masks.
 *
 *     tv-extract base math code | trim --density 0.2 | elect-sign | combine --normalize=agreeing |
 *         pack --base base merged/
 *
 * Exactly k elements are kept (TIES: at least one, unless the density is 0). n counts one tensor,
 * as in mergekit, or with --scope model all tensors, as in the TIES paper. Of equal magnitudes the
 * one with the lower flat index counts as larger; with --outliers the one with the higher index, as
 * in mergekit's ascending sort. If density and gamma add up to more than 1, fewer outliers are
 * dropped. l1_before is recorded per tensor, for rescale --by l1.
 */
#include "filter.h"
#include "rank_filter.h"
#include "stage_rules.h"

struct options {
    struct tensor_rules density, outliers;
    int scope;
    bool bug_compatible;
};

enum { PER_TENSOR, PER_MODEL };

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"density", OPTION_RULES, FIELD(density), "D",
     .help = "fraction of elements to keep: a number in [0, 1], or rules such as math/*mlp*=0.5 "
             "(required; repeatable)",
     .range = {.low = 0, .high = 1}, .required = true},
    {"outliers", OPTION_RULES, FIELD(outliers), "G",
     .help =
         "fraction of elements, the largest ones, to drop first (Breadcrumbs): a number in [0, 1), "
         "or rules; repeatable",
     .range = {0, 1, .high_open = true}},
    {"scope", OPTION_CHOICE, FIELD(scope), "tensor|model",
     .help = "rank the elements of each tensor (default), or of all tensors together",
     .choices = "tensor|model", .default_value = "tensor"},
    {"bug-compatible", OPTION_FLAG, FIELD(bug_compatible),
     .help = "if no element is an outlier (gamma n < 1), keep nothing, as mergekit does"},
    {0}};
#undef FIELD

/* ---- the method ------------------------------------------------------------------------------ */

/* The ranks that are kept of n elements. */
static struct magnitude_band *make_kept_band(const struct options *o, uint64_t n, double density,
                                             double gamma)
{
    bool breadcrumbs = tensor_rules_count(&o->outliers) > 0;
    uint64_t kept = (uint64_t)(density * (double)n), outliers = (uint64_t)(gamma * (double)n);
    if (density >= 1)
        return magnitude_band_new(n, n, 0, TIE_LOWER_INDEX_WINS);
    if (kept == 0 && density > 0 && !breadcrumbs)
        kept = 1;
    if (kept + outliers > n)
        outliers = n - kept;
    if (breadcrumbs && outliers == 0 && o->bug_compatible)
        kept = 0;
    return magnitude_band_new(n, kept, outliers,
                              breadcrumbs ? TIE_HIGHER_INDEX_WINS : TIE_LOWER_INDEX_WINS);
}

/* ---- one tensor, or the whole model ---------------------------------------------------------- */

static struct magnitude_bands make_bands_of_tensor(const struct job *job)
{
    const struct options *o = job->stage->options;
    const struct tensor *t = job->in;
    struct magnitude_bands bands = magnitude_bands_new(job->arena, t->n_vectors);
    for (size_t k = 0; k < t->n_vectors; k++) {
        const struct vector *v = &t->vectors[k];
        double density = stage_rules_vector_value(job->stage, &o->density, t, v, 1);
        double gamma = stage_rules_vector_value(job->stage, &o->outliers, t, v, 0);
        bands.bands[k] = make_kept_band(o, tensor_elements(t), density, gamma);
    }
    return bands;
}

static int begin_tensor(struct job *job, struct error *e)
{
    const struct rank_filter *models = job->stage->data;
    if (tensor_elements(job->in) == 0)
        return PLAN_PASS_THROUGH;
    return rank_filter_begin(job, models ? rank_filter_make_tensor_bands(models, job)
                                         : make_bands_of_tensor(job));
}

static int open_with_model_scope(struct stage *s, const struct header *h, struct error *e)
{
    const struct options *o = s->options;
    struct rank_filter *models = s->data = rank_filter_new(s, h);
    double *density = arena_alloc(&models->arena, h->n_models, sizeof *density);
    double *gamma = arena_alloc(&models->arena, h->n_models, sizeof *gamma);
    if (rank_filter_find_model_values(s, &o->density, h, 1, density, e) ||
        rank_filter_find_model_values(s, &o->outliers, h, 0, gamma, e))
        return -1;
    for (size_t m = 0; m < h->n_models; m++)
        if (models->model_elements[m])
            models->bands.bands[m] =
                make_kept_band(o, models->model_elements[m], density[m], gamma[m]);
    return 0;
}

static int open_trim(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    return o->scope == PER_MODEL ? open_with_model_scope(s, h, e) : 0;
}

static enum scope choose_scope(const struct stage *s)
{
    const struct options *o = s->options;
    return o->scope == PER_MODEL ? SCOPE_MODEL : SCOPE_TENSOR;
}

const struct filter filter_trim = {
    .name = "trim",
    .summary = "Keep the largest elements of each task vector (TIES, Breadcrumbs)",
    .step = STEP_SPARSIFY,
    .notes = "  tv-extract base math code | trim --density 0.2 | elect-sign |\n"
             "      combine --normalize=agreeing | pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .element_wise = true,
    .only_drops_elements = true,
    .open = open_trim,
    .choose_scope = choose_scope,
    .begin_tensor = begin_tensor,
    .observe_block = rank_filter_observe,
    .accumulate_block = rank_filter_accumulate,
    .end_round = rank_filter_decide,
    .transform_block = rank_filter_transform,
    .end_tensor = rank_filter_end,
    .close = rank_filter_close,
};
