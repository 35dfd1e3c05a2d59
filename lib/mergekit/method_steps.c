#include "method_steps.h"

#include "expert_merging.h"
#include "number.h"

#include <math.h>
#include <string.h>

/* ---- rules ----------------------------------------------------------------------------------- */

/* "0.5" or "[0.2,0.8]" */
static const char *value_text(const struct conditional_value *c, struct arena *a)
{
    char number[32];
    const char *text = c->n_values > 1 ? "[" : "";
    for (size_t i = 0; i < c->n_values; i++)
        text = arena_printf(a, "%s%s%s", text, i ? "," : "", number_format(c->values[i], number));
    return c->n_values > 1 ? arena_printf(a, "%s]", text) : text;
}

/* A condition as a rule; `model` is NULL for any. */
static const char *rule_text(const struct conditional_value *c, const char *model, struct arena *a)
{
    const char *value = value_text(c, a),
               *glob = c->filter ? pipeline_builder_escape_glob(c->filter, a) : NULL;
    const char *name = model ? pipeline_builder_escape_glob(model, a) : "";
    if (glob && strncmp(glob, "\\-", 2) == 0)
        glob++; /* no option: a / stands before it */
    if (glob)
        return arena_printf(a, "%s/*%s*=%s", name, glob, value);
    return model ? arena_printf(a, "%s=%s", name, value) : value;
}

/* mergekit takes the first condition that holds, rules the last: they are turned around. */
static void add_rules(struct pipeline_command *to, const char *option,
                      const struct parameter_value *c, const char *model, struct arena *a)
{
    for (size_t i = c->n_conditions; i-- > 0;) {
        if (option)
            pipeline_add_word(to, option, a);
        pipeline_add_word(to, rule_text(&c->conditions[i], model, a), a);
    }
}

/* ---- values ---------------------------------------------------------------------------------- */

static const struct method_parameter *parameter(const struct slice_context *p, const char *name)
{
    return merge_method_find_parameter(p->builder->method, name);
}

/* What the configuration gives a parameter, for a member or (NULL) globally. */
static int choose(const struct slice_context *p, const char *name, const struct slice_model *m,
                  struct parameter_value *c)
{
    struct pipeline_builder *b = p->builder;
    struct parameter_levels levels = {0};
    if (m && m->source)
        levels.settings[levels.n_levels++] = &m->source->parameters;
    levels.settings[levels.n_levels++] = &p->slice->parameters;
    levels.settings[levels.n_levels++] = &b->config->module_parameters;
    levels.settings[levels.n_levels++] = &b->config->parameters;
    if (parameter_value_lookup(c, parameter(p, name), &levels, b->file->path, b->a, b->e))
        return -1;
    if (c->n_conditions == 0)
        return pipeline_builder_error(b, m && m->source ? m->source->line : b->config->line,
                                      "%s needs %s%s%s", b->method->name, name, m ? " for " : "",
                                      m ? m->input->name : "");
    return 0;
}

/* A global parameter of which there is one value only. */
static int choose_number(const struct slice_context *p, const char *name, double *x)
{
    struct parameter_value c;
    if (choose(p, name, NULL, &c))
        return -1;
    return parameter_value_constant(&c, x) == 0
               ? 0
               : pipeline_builder_error(p->builder, c.line,
                                        "%s differs between tensors, which is not supported", name);
}

static int choose_flag(const struct slice_context *p, const char *name, bool *flag)
{
    struct parameter_value c;
    double x = 0;
    bool lenient = strcmp(name, "normalize_weights") == 0;
    if (choose_number(p, name, &x) || choose(p, name, NULL, &c))
        return -1;
    *flag = x != 0;
    return lenient || x == 0 || x == 1
               ? 0
               : pipeline_builder_error(p->builder, c.line, "%s must be true or false", name);
}

/* Notes that a required weight is not there for every tensor's name. */
static void add_gap(const struct slice_context *p, const struct parameter_value *c,
                    const char *name, const struct slice_model *m)
{
    struct merge_pipeline *r = p->builder->merge;
    struct arena *a = p->builder->a;
    struct coverage_check *gaps = arena_alloc(a, r->n_coverage_checks + 1, sizeof *gaps),
                          *g = &gaps[r->n_coverage_checks];
    if (r->n_coverage_checks)
        memcpy(gaps, r->coverage_checks, r->n_coverage_checks * sizeof *gaps);
    *g = (struct coverage_check){.pipeline = p->pipeline,
                                 .model = m->input->name,
                                 .parameter = name,
                                 .line_number = c->line,
                                 .n_filters = c->n_conditions};
    g->filters = arena_alloc(a, c->n_conditions, sizeof *g->filters);
    for (size_t i = 0; i < c->n_conditions; i++)
        g->filters[i] = c->conditions[i].filter;
    r->coverage_checks = gaps;
    r->n_coverage_checks++;
}

/* The rules of a parameter of each model; without names where all have the same. Where all are
 * `idle` anyway nothing is added, and *added says so. */
static int add_model_rules(const struct slice_context *p, const char *name, const char *filter,
                           const char *option, double idle, bool *added)
{
    struct arena *a = p->builder->a;
    struct parameter_value *choices = arena_alloc(a, p->n_models, sizeof *choices);
    bool same = true, is_idle = true;
    for (size_t i = 0; i < p->n_models; i++) {
        double x;
        if (choose(p, name, &p->models[i], &choices[i]))
            return -1;
        if (!choices[i].complete)
            add_gap(p, &choices[i], name, &p->models[i]);
        same &= parameter_value_equal(&choices[0], &choices[i]);
        is_idle &= parameter_value_constant(&choices[i], &x) == 0 && x == idle;
    }
    if (added)
        *added = !is_idle;
    if (is_idle)
        return 0;
    struct pipeline_command *to = filter ? pipeline_add_command(p->pipeline, filter, a)
                                         : &p->pipeline->commands[p->pipeline->n - 1];
    for (size_t i = 0; i < (same ? 1 : p->n_models); i++)
        add_rules(to, option, &choices[i], same ? NULL : p->models[i].input->name, a);
    return 0;
}

static int add_weights(const struct slice_context *p)
{
    return add_model_rules(p, "weight", "weigh", NULL, 1, NULL);
}

/* The rules of a global parameter, as options or operands of a new command. */
static int add_global_rules(const struct slice_context *p, const char *name, const char *filter,
                            const char *option, double idle)
{
    struct parameter_value c;
    double x;
    if (choose(p, name, NULL, &c))
        return -1;
    if (parameter_value_constant(&c, &x) == 0 && x == idle)
        return 0;
    add_rules(pipeline_add_command(p->pipeline, filter, p->builder->a), option, &c, NULL,
              p->builder->a);
    return 0;
}

static struct pipeline_command *add_number(struct pipeline_command *to, const char *option,
                                           double x, double preset, struct arena *a)
{
    char text[32];
    if (x != preset) {
        pipeline_add_word(to, option, a);
        pipeline_add_word(to, arena_printf(a, "%s", number_format(x, text)), a);
    }
    return to;
}

/* ---- the methods ----------------------------------------------------------------------------- */

static int trim(const struct slice_context *p, bool *added)
{
    struct arena *a = p->builder->a;
    bool outliers = p->builder->method->sparse == SPARSE_OUTLIERS;
    if (add_model_rules(p, "density", "trim", "--density", 1, added))
        return -1;
    if (!*added)
        return 0;
    if (outliers && add_model_rules(p, "gamma", NULL, "--outliers", NAN, NULL))
        return -1;
    struct pipeline_command *c = &p->pipeline->commands[p->pipeline->n - 1];
    if (outliers && p->builder->options->bug_compatible)
        pipeline_add_word(c, "--bug-compatible", a);
    if (!outliers && p->builder->options->paper)
        pipeline_add_word(c, "--scope=model", a);
    return 0;
}

static int drop(const struct slice_context *p, bool rescales, bool *added)
{
    struct arena *a = p->builder->a;
    bool della = p->builder->method->sparse == SPARSE_DELLA;
    if (add_model_rules(p, "density", della ? "della-drop" : "dare-drop", "--density", 1, added))
        return -1;
    if (!*added)
        return 0;
    if (della && add_model_rules(p, "epsilon", NULL, "--epsilon", NAN, NULL))
        return -1;
    struct pipeline_command *c = &p->pipeline->commands[p->pipeline->n - 1];
    pipeline_add_word(c, "--seed", a);
    pipeline_add_word(c, arena_printf(a, "%llu", (unsigned long long)p->builder->options->seed), a);
    if (rescales && della && p->builder->options->paper)
        pipeline_add_word(c, "--rescale=keep", a);
    if (rescales && !della && !p->builder->options->paper)
        pipeline_add_word(c, "--l1", a);
    return 0;
}

/* Sparsify and rescale. */
static int sparsify(const struct slice_context *p)
{
    enum method_sparse sparse = p->builder->method->sparse;
    bool rescales = false, added = false, paper = p->builder->options->paper;
    if (sparse == SPARSE_NONE)
        return 0;
    if (choose_flag(p, "rescale", &rescales))
        return -1;
    bool random = sparse == SPARSE_RANDOM || sparse == SPARSE_DELLA;
    if (random ? drop(p, rescales, &added) : trim(p, &added))
        return -1;
    if (!added || !rescales || (sparse == SPARSE_DELLA && paper))
        return 0;
    bool keep = sparse == SPARSE_RANDOM && paper;
    struct pipeline_command *c = pipeline_add_command(p->pipeline, "rescale", p->builder->a);
    pipeline_add_word(c, "--by", p->builder->a);
    pipeline_add_word(c, keep ? "keep" : "l1", p->builder->a);
    return 0;
}

/* task_arithmetic, ties, dare, breadcrumbs, della */
static int task_steps(const struct slice_context *p)
{
    struct arena *a = p->builder->a;
    bool normalize;
    if (sparsify(p) || add_weights(p) || choose_flag(p, "normalize", &normalize))
        return -1;
    if (p->builder->method->weights == WEIGHTS_VOTE) {
        struct pipeline_command *c = pipeline_add_command(p->pipeline, "elect-sign", a);
        if (p->builder->options->paper)
            pipeline_add_word(c, "--unweighted", a);
    }
    struct pipeline_command *c = pipeline_add_command(p->pipeline, "combine", a);
    if (normalize)
        pipeline_add_word(c,
                          p->builder->method->weights == WEIGHTS_VOTE ? "--normalize=agreeing"
                                                                      : "--normalize=all",
                          a);
    return add_global_rules(p, "lambda", "rescale", NULL, 1);
}

static int linear_steps(const struct slice_context *p)
{
    bool normalize;
    if (add_weights(p) || choose_flag(p, "normalize", &normalize))
        return -1;
    struct pipeline_command *c = pipeline_add_command(p->pipeline, "combine", p->builder->a);
    if (normalize)
        pipeline_add_word(c, "--normalize=all", p->builder->a);
    return 0;
}

static int model_stock_steps(const struct slice_context *p)
{
    bool per_row;
    if (choose_flag(p, "filter_wise", &per_row))
        return -1;
    struct pipeline_command *c = pipeline_add_command(p->pipeline, "model-stock", p->builder->a);
    if (per_row)
        pipeline_add_word(c, "--per=row", p->builder->a);
    pipeline_add_command(p->pipeline, "combine", p->builder->a);
    return 0;
}

static int nuslerp_steps(const struct slice_context *p)
{
    bool flatten, columns;
    if (add_weights(p) || choose_flag(p, "nuslerp_flatten", &flatten) ||
        choose_flag(p, "nuslerp_row_wise", &columns))
        return -1;
    struct pipeline_command *c = pipeline_add_command(p->pipeline, "nuslerp", p->builder->a);
    if (!flatten) /* the parameter's name is the other way round */
        pipeline_add_word(c, columns ? "--along=columns" : "--along=rows", p->builder->a);
    return 0;
}

static int sce_steps(const struct slice_context *p)
{
    struct arena *a = p->builder->a;
    if (add_global_rules(p, "select_topk", "sce-select", "--topk", 1))
        return -1;
    pipeline_add_command(p->pipeline, "sce-weigh", a);
    pipeline_add_word(pipeline_add_command(p->pipeline, "elect-sign", a), "--unweighted", a);
    struct pipeline_command *c = pipeline_add_command(p->pipeline, "combine", a);
    pipeline_add_word(c, "--normalize=agreeing", a);
    pipeline_add_word(c, "--floor", a);
    pipeline_add_word(c, "1e-6", a);
    return 0;
}

static int karcher_steps(const struct slice_context *p)
{
    double steps, tol;
    if (choose_number(p, "max_iter", &steps) || choose_number(p, "tol", &tol))
        return -1;
    if (steps != floor(steps))
        return pipeline_builder_error(p->builder, p->builder->config->line,
                                      "max_iter must be a whole number");
    struct pipeline_command *c = pipeline_add_command(p->pipeline, "karcher", p->builder->a);
    add_number(add_number(c, "--max-iter", steps, 10, p->builder->a), "--tol", tol, 1e-5,
               p->builder->a);
    return 0;
}

static int multislerp_steps(const struct slice_context *p)
{
    bool normalize;
    double eps;
    if (add_weights(p) || choose_flag(p, "normalize_weights", &normalize) ||
        choose_number(p, "eps", &eps))
        return -1;
    struct pipeline_command *c = pipeline_add_command(p->pipeline, "multislerp", p->builder->a);
    if (!normalize)
        pipeline_add_word(c, "--raw-weights", p->builder->a);
    add_number(c, "--eps", eps, 1e-8, p->builder->a);
    return 0;
}

static int ram_steps(const struct slice_context *p)
{
    struct arena *a = p->builder->a;
    bool plus = parameter(p, "alpha") != NULL;
    double epsilon, r = 0.1, alpha = 0.2;
    if (choose_number(p, "epsilon", &epsilon) || (plus && choose_number(p, "r", &r)) ||
        (plus && choose_number(p, "alpha", &alpha)))
        return -1;
    struct pipeline_command *c = pipeline_add_command(p->pipeline, "ram", a);
    if (plus)
        pipeline_add_word(c, "--plus", a);
    add_number(c, "--epsilon", epsilon, 1e-5, a);
    add_number(c, "--r", r, 0.1, a);
    add_number(c, "--alpha", alpha, 0.2, a);
    return 0;
}

static int slerp_steps(const struct slice_context *p)
{
    return add_global_rules(p, "t", p->builder->method->name, "--t", NAN);
}

static int fusion_steps(const struct slice_context *p)
{
    pipeline_add_command(p->pipeline, "arcee-fusion", p->builder->a);
    return 0;
}

static int passthrough_steps(const struct slice_context *p)
{
    return add_model_rules(p, "scale", "rescale", NULL, 1, NULL);
}

static const struct {
    const char *method;
    int (*steps)(const struct slice_context *);
} others[] = {
    {"linear", linear_steps},       {"slerp", slerp_steps},
    {"nearswap", slerp_steps},      {"model_stock", model_stock_steps},
    {"nuslerp", nuslerp_steps},     {"sce", sce_steps},
    {"karcher", karcher_steps},     {"multislerp", multislerp_steps},
    {"arcee_fusion", fusion_steps}, {"ram", ram_steps},
    {"ramplus_tl", ram_steps},      {"passthrough", passthrough_steps},
};

int method_steps_add(const struct slice_context *p)
{
    if (p->builder->method->weights == WEIGHTS_LEARNED)
        return expert_merging_add_steps(p);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(others[i].method, p->builder->method->name) == 0)
            return others[i].steps(p);
    return task_steps(p);
}
