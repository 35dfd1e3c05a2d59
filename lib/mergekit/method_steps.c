#include "method_steps.h"

#include "expert_merging_steps.h"
#include "parameter_rules.h"
#include "spectral_steps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct pipeline_command *add_filter_command(const struct slice_context *s,
                                                   const char *filter)
{
    return pipeline_add_command(s->pipeline, filter, s->builder->a);
}

static void add_word_unless_null(const struct slice_context *s, struct pipeline_command *to,
                                 const char *word)
{
    if (word)
        pipeline_add_word(to, word, s->builder->a);
}

/* OPTION X, unless x is the option's default. */
static void add_number_option(const struct slice_context *s, struct pipeline_command *to,
                              const char *option, double x, double preset)
{
    char text[32];
    if (x == preset)
        return;
    add_word_unless_null(s, to, option);
    add_word_unless_null(s, to, arena_copy_text(s->builder->a, number_format(x, text)));
}

static int add_weigh_command(const struct slice_context *s)
{
    return parameter_rules_add_per_model(s, "weight", (struct rule_target){"weigh", NULL, 1}, NULL);
}

/* lambda, of the merged vector */
static int add_lambda_command(const struct slice_context *s)
{
    return parameter_rules_add_global(s, "lambda", (struct rule_target){"rescale", NULL, 1});
}

/* ---- sparsify and rescale -------------------------------------------------------------------- */

/* How task vectors are rescaled after sparsifying. */
struct rescaling {
    const char *option; /* of the sparsifying filter, if any are; NULL: none */
    const char *word;   /* its argument, or that of a stage rescale --by: l1, keep; NULL: none */
};

/* A filter that sparsifies, and its options. */
struct sparsifier {
    const char *filter;
    const char *parameter, *parameter_option; /* one more besides the density; NULL: none */
    bool is_random;                           /* takes --seed */
    const char *bug_option;                   /* with --bug-compatible */
    const char *paper_option;                 /* with --paper */
    struct rescaling mergekit, paper;         /* where `rescale` is true */
};

static const struct sparsifier sparsifiers[] = {
    [SPARSIFY_MAGNITUDE] = {.filter = "trim",
                            .paper_option = "--scope=model",
                            .mergekit = {NULL, "l1"},
                            .paper = {NULL, "l1"}},
    [SPARSIFY_OUTLIERS] = {.filter = "trim",
                           .parameter = "gamma",
                           .parameter_option = "--outliers",
                           .bug_option = "--bug-compatible",
                           .mergekit = {NULL, "l1"},
                           .paper = {NULL, "l1"}},
    [SPARSIFY_RANDOM] = {.filter = "dare-drop",
                         .is_random = true,
                         .mergekit = {"--l1", "l1"},
                         .paper = {NULL, "keep"}},
    [SPARSIFY_DELLA] = {.filter = "della-drop",
                        .parameter = "epsilon",
                        .parameter_option = "--epsilon",
                        .is_random = true,
                        .mergekit = {NULL, "l1"},
                        .paper = {"--rescale=", "keep"}},
};

/* The options of the sparsifying filter that do not come from parameters. */
static void add_sparsifier_options(const struct slice_context *s, const struct sparsifier *f)
{
    const struct translation_options *o = s->builder->options;
    struct pipeline_command *c = &s->pipeline->commands[s->pipeline->n - 1];
    if (o->bug_compatible)
        add_word_unless_null(s, c, f->bug_option);
    if (o->paper)
        add_word_unless_null(s, c, f->paper_option);
    if (f->is_random) {
        add_word_unless_null(s, c, "--seed");
        add_word_unless_null(s, c,
                             arena_printf(s->builder->a, "%llu", (unsigned long long)o->seed));
    }
}

/* rescale: an option of the sparsifying filter, or a stage after it. */
static int add_rescaling(const struct slice_context *s, const struct rescaling *r)
{
    struct flag_choice rescale;
    if (parameter_rules_find_flag(s, "rescale", "none", r->word, &rescale))
        return -1;
    if (!parameter_rules_flag_may_be(&rescale, true))
        return 0;
    bool takes_word = r->option && r->option[strlen(r->option) - 1] == '=';
    if (!takes_word) {
        add_word_unless_null(s, &s->pipeline->commands[s->pipeline->n - 1], r->option);
        add_filter_command(s, "rescale");
    }
    parameter_rules_add_flag(s, &rescale, takes_word ? r->option : "--by", "none");
    return 0;
}

static int add_sparsifying_command(const struct slice_context *s)
{
    const struct sparsifier *f = &sparsifiers[s->builder->method->sparsifier];
    bool added = false;
    if (s->builder->method->sparsifier == SPARSIFY_NONE)
        return 0;
    if (parameter_rules_add_per_model(s, "density", (struct rule_target){f->filter, "--density", 1},
                                      &added))
        return -1;
    if (!added)
        return 0;
    if (f->parameter &&
        parameter_rules_add_per_model(s, f->parameter,
                                      (struct rule_target){NULL, f->parameter_option, NAN}, NULL))
        return -1;
    add_sparsifier_options(s, f);
    return add_rescaling(s, s->builder->options->paper ? &f->paper : &f->mergekit);
}

/* ---- sums of task vectors or weights --------------------------------------------------------- */

/* combine, with --normalize=WORD where `normalize` is true. */
static int add_combine_command(const struct slice_context *s, const char *word)
{
    struct flag_choice normalize;
    if (parameter_rules_find_flag(s, "normalize", "none", word, &normalize))
        return -1;
    add_filter_command(s, "combine");
    parameter_rules_add_flag(s, &normalize, "--normalize=", "none");
    return 0;
}

/* task_arithmetic, ties, dare_..., breadcrumbs..., della... */
static int add_task_vector_steps(const struct slice_context *s)
{
    bool vote = s->builder->method->weights == WEIGHTS_VOTE;
    if (add_sparsifying_command(s) || add_weigh_command(s))
        return -1;
    if (vote) {
        struct pipeline_command *elect = add_filter_command(s, "elect-sign");
        add_word_unless_null(s, elect, s->builder->options->paper ? "--unweighted" : NULL);
    }
    return add_combine_command(s, vote ? "agreeing" : "all") ? -1 : add_lambda_command(s);
}

/* Is one of the numbers in the rules of `weigh` so small that sums may be near 0? */
static bool weights_may_cancel(const struct pipeline_command *weigh)
{
    for (size_t i = 1; i < weigh->n; i++) {
        const char *equals = strrchr(weigh->words[i].text, '=');
        const char *next = equals ? equals + 1 : weigh->words[i].text;
        for (char *end; *next; next = end + (*end != '\0')) {
            next += *next == '[';
            if (strtod(next, &end) < 1e-7)
                return true;
        }
    }
    return false;
}

/* A mean of weights, not of task vectors, divides by their sum: it is checked before the merge. */
static void check_sum_of_weights(const struct slice_context *s, bool divides_by_default)
{
    const struct mean_check c = {s->pipeline, s->n_source_commands, divides_by_default,
                                 s->slice->line};
    const struct pipeline_command *weigh = &s->pipeline->commands[s->pipeline->n - 2];
    if (!slice_context_uses_task_vectors(s) && strcmp(weigh->words[0].text, "weigh") == 0 &&
        weights_may_cancel(weigh))
        translated_config_add_mean_check(s->builder->merge, &c, s->builder->a);
}

static int add_linear_steps(const struct slice_context *s)
{
    if (add_weigh_command(s) || add_combine_command(s, "all"))
        return -1;
    check_sum_of_weights(s, false);
    return 0;
}

static int add_model_stock_steps(const struct slice_context *s)
{
    struct flag_choice per;
    if (parameter_rules_find_flag(s, "filter_wise", "tensor", "row", &per))
        return -1;
    add_filter_command(s, "model-stock");
    parameter_rules_add_flag(s, &per, "--per=", "tensor");
    add_filter_command(s, "combine");
    return 0;
}

static int add_sce_steps(const struct slice_context *s)
{
    if (parameter_rules_add_global(s, "select_topk",
                                   (struct rule_target){"sce-select", "--topk", 1}))
        return -1;
    add_filter_command(s, "sce-weigh");
    add_word_unless_null(s, add_filter_command(s, "elect-sign"), "--unweighted");
    struct pipeline_command *combine = add_filter_command(s, "combine");
    add_word_unless_null(s, combine, "--normalize=agreeing");
    add_word_unless_null(s, combine, "--floor");
    add_word_unless_null(s, combine, "1e-6");
    return 0;
}

static int add_ram_steps(const struct slice_context *s)
{
    bool plus = merge_method_find_parameter(s->builder->method, "alpha") != NULL;
    add_word_unless_null(s, add_filter_command(s, "ram"), plus ? "--plus" : NULL);
    if (parameter_rules_add_global(s, "epsilon", (struct rule_target){NULL, "--epsilon", 1e-5}))
        return -1;
    return plus && (parameter_rules_add_global(s, "r", (struct rule_target){NULL, "--r", 0.1}) ||
                    parameter_rules_add_global(s, "alpha",
                                               (struct rule_target){NULL, "--alpha", 0.2}))
               ? -1
               : 0;
}

/* ---- directions, interpolation --------------------------------------------------------------- */

/* slerp and nearswap, filters of the same names */
static int add_interpolation_steps(const struct slice_context *s)
{
    struct rule_target to = {s->builder->method->name, "--t", NAN};
    return parameter_rules_add_global(s, "t", to);
}

/* What nuslerp interpolates: mergekit's row_wise are columns. */
static int add_nuslerp_steps(const struct slice_context *s)
{
    struct flag_choice flatten, columns;
    if (add_weigh_command(s) ||
        parameter_rules_find_flag(s, "nuslerp_row_wise", "rows", "columns", &columns))
        return -1;
    const char *unflattened = parameter_rules_constant_flag(&columns);
    if (parameter_rules_find_flag(s, "nuslerp_flatten", unflattened, "tensor", &flatten))
        return -1;
    add_filter_command(s, "nuslerp");
    if (unflattened)
        parameter_rules_add_flag(s, &flatten, "--along=", "tensor");
    else if (!parameter_rules_flag_may_be(&flatten, true))
        parameter_rules_add_flag(s, &columns, "--along=", "tensor");
    else if (parameter_rules_flag_may_be(&flatten, false))
        return pipeline_builder_error(s->builder, flatten.value.line,
                                      "nuslerp_flatten and nuslerp_row_wise differ by tensor; "
                                      "only one of them can");
    return 0;
}

static int add_karcher_steps(const struct slice_context *s)
{
    add_filter_command(s, "karcher");
    return parameter_rules_add_global(s, "max_iter",
                                      (struct rule_target){NULL, "--max-iter", 10}) ||
                   parameter_rules_add_global(s, "tol", (struct rule_target){NULL, "--tol", 1e-5})
               ? -1
               : 0;
}

static int add_multislerp_steps(const struct slice_context *s)
{
    struct flag_choice normalize;
    if (add_weigh_command(s) ||
        parameter_rules_find_flag(s, "normalize_weights", "none", "all", &normalize))
        return -1;
    add_filter_command(s, "multislerp");
    parameter_rules_add_flag(s, &normalize, "--normalize=", "all");
    check_sum_of_weights(s, true);
    return parameter_rules_add_global(s, "eps", (struct rule_target){NULL, "--eps", 1e-8});
}

static int add_arcee_fusion_steps(const struct slice_context *s)
{
    add_filter_command(s, "arcee-fusion");
    return 0;
}

static int add_passthrough_steps(const struct slice_context *s)
{
    return parameter_rules_add_per_model(s, "scale", (struct rule_target){"rescale", NULL, 1},
                                         NULL);
}

/* ---- statistics of the models ---------------------------------------------------------------- */

/* --PARAMETER MODEL=FILE for each model. */
static int add_file_options(const struct slice_context *s, struct pipeline_command *to,
                            const char *parameter)
{
    struct arena *a = s->builder->a;
    for (size_t i = 0; i < s->n_models; i++) {
        const struct slice_model *m = &s->models[i];
        const struct config_parameter *p =
            m->source ? config_parameters_find(&m->source->parameters, parameter) : NULL;
        if (!p)
            return pipeline_builder_error(s->builder, m->source ? m->source->line : s->slice->line,
                                          "%s requires %s for %s", s->builder->method->name,
                                          parameter, m->input->name);
        pipeline_builder_add_option(to, parameter,
                                    arena_printf(a, "%s=%s", m->input->name, p->texts[0]), a);
    }
    return 0;
}

static int add_regmean_steps(const struct slice_context *s)
{
    double reduce;
    if (parameter_rules_find_number(s, "reduce", &reduce))
        return -1;
    struct pipeline_command *regmean = add_filter_command(s, "regmean");
    add_number_option(s, regmean, "--reduce", reduce, 0.9);
    return add_file_options(s, regmean, "gram") ? -1 : add_lambda_command(s);
}

static int add_fisher_steps(const struct slice_context *s)
{
    if (add_weigh_command(s) || add_file_options(s, add_filter_command(s, "fisher"), "diagonal"))
        return -1;
    return add_lambda_command(s);
}

/* alpha + beta l / (L - 1) in layer l; without parameters 1/K in the lowest layer, 1 in the last.
 */
static int add_lines_steps(const struct slice_context *s)
{
    double alpha, beta;
    char first[32], last[32];
    if (add_weigh_command(s) || parameter_rules_find_number(s, "alpha", &alpha) ||
        parameter_rules_find_number(s, "beta", &beta))
        return -1;
    alpha = alpha == METHOD_PARAMETER_UNSET ? 1 / (double)s->n_models : alpha;
    double end = beta == METHOD_PARAMETER_UNSET ? 1 : alpha + beta;
    add_filter_command(s, "combine");
    add_word_unless_null(s, add_filter_command(s, "rescale"),
                         arena_printf(s->builder->a, "[%s,%s]", number_format(alpha, first),
                                      number_format(end, last)));
    return 0;
}

/* ---- all methods ----------------------------------------------------------------------------- */

static const struct {
    const char *method;
    int (*add_steps)(const struct slice_context *);
} methods[] = {
    {"linear", add_linear_steps},
    {"slerp", add_interpolation_steps},
    {"nearswap", add_interpolation_steps},
    {"model_stock", add_model_stock_steps},
    {"nuslerp", add_nuslerp_steps},
    {"sce", add_sce_steps},
    {"karcher", add_karcher_steps},
    {"multislerp", add_multislerp_steps},
    {"arcee_fusion", add_arcee_fusion_steps},
    {"ram", add_ram_steps},
    {"ramplus_tl", add_ram_steps},
    {"passthrough", add_passthrough_steps},
    {"regmean", add_regmean_steps},
    {"fisher", add_fisher_steps},
    {"lines", add_lines_steps},
    {"expert_merging", expert_merging_steps_add},
    {"expert_merging_pp", expert_merging_steps_add},
};

int method_steps_add(const struct slice_context *s)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(methods[i].method, s->builder->method->name) == 0)
            return methods[i].add_steps(s);
    if (spectral_steps_has_method(s->builder->method->name))
        return spectral_steps_add(s);
    return add_task_vector_steps(s);
}
