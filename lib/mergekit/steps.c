#include "steps.h"

#include "expert_merging.h"
#include "number.h"

#include <math.h>
#include <string.h>

/* ---- rules ----------------------------------------------------------------------------------- */

/* "0.5" or "[0.2,0.8]" */
static const char *value_text(const struct condition *c, struct arena *a)
{
    char number[32];
    const char *text = c->n > 1 ? "[" : "";
    for (size_t i = 0; i < c->n; i++)
        text = arena_printf(a, "%s%s%s", text, i ? "," : "", number_text(c->values[i], number));
    return c->n > 1 ? arena_printf(a, "%s]", text) : text;
}

/* A condition as a rule; `model` is NULL for any. */
static const char *rule_text(const struct condition *c, const char *model, struct arena *a)
{
    const char *value = value_text(c, a),
               *glob = c->filter ? pipeline_builder_glob(c->filter, a) : NULL;
    const char *name = model ? pipeline_builder_glob(model, a) : "";
    if (glob && strncmp(glob, "\\-", 2) == 0)
        glob++; /* no option: a / stands before it */
    if (glob)
        return arena_printf(a, "%s/*%s*=%s", name, glob, value);
    return model ? arena_printf(a, "%s=%s", name, value) : value;
}

/* mergekit takes the first condition that holds, rules the last: they are turned around. */
static void add_rules(struct command *to, const char *option, const struct choice *c,
                      const char *model, struct arena *a)
{
    for (size_t i = c->n; i-- > 0;) {
        if (option)
            command_add(to, option, a);
        command_add(to, rule_text(&c->conditions[i], model, a), a);
    }
}

/* ---- values ---------------------------------------------------------------------------------- */

static const struct parameter *parameter(const struct slice_context *p, const char *name)
{
    return method_parameter(p->b->method, name);
}

/* What the configuration gives a parameter, for a member or (NULL) globally. */
static int choose(const struct slice_context *p, const char *name, const struct member *m,
                  struct choice *c)
{
    struct pipeline_builder *b = p->b;
    struct levels levels = {0};
    if (m && m->source)
        levels.settings[levels.n++] = &m->source->parameters;
    levels.settings[levels.n++] = &p->slice->parameters;
    levels.settings[levels.n++] = &b->c->module;
    levels.settings[levels.n++] = &b->c->parameters;
    if (method_choose(c, parameter(p, name), &levels, b->file->path, b->a, b->e))
        return -1;
    if (c->n == 0)
        return pipeline_builder_refuse(b, m && m->source ? m->source->line : b->c->line,
                                       "%s needs %s%s%s", b->method->name, name, m ? " for " : "",
                                       m ? m->party->name : "");
    return 0;
}

/* A global parameter of which there is one value only. */
static int choose_number(const struct slice_context *p, const char *name, double *x)
{
    struct choice c;
    if (choose(p, name, NULL, &c))
        return -1;
    return method_constant(&c, x) == 0
               ? 0
               : pipeline_builder_refuse(
                     p->b, c.line, "%s differs between tensors, which is not supported", name);
}

static int choose_flag(const struct slice_context *p, const char *name, bool *flag)
{
    struct choice c;
    double x = 0;
    bool lenient = strcmp(name, "normalize_weights") == 0;
    if (choose_number(p, name, &x) || choose(p, name, NULL, &c))
        return -1;
    *flag = x != 0;
    return lenient || x == 0 || x == 1
               ? 0
               : pipeline_builder_refuse(p->b, c.line, "%s must be true or false", name);
}

/* Notes that a required weight is not there for every tensor's name. */
static void add_gap(const struct slice_context *p, const struct choice *c, const char *name,
                    const struct member *m)
{
    struct recipe *r = p->b->r;
    struct arena *a = p->b->a;
    struct recipe_gap *gaps = arena_alloc(a, r->n_gaps + 1, sizeof *gaps), *g = &gaps[r->n_gaps];
    if (r->n_gaps)
        memcpy(gaps, r->gaps, r->n_gaps * sizeof *gaps);
    *g = (struct recipe_gap){.line = p->line,
                             .model = m->party->name,
                             .parameter = name,
                             .line_number = c->line,
                             .n = c->n};
    g->filters = arena_alloc(a, c->n, sizeof *g->filters);
    for (size_t i = 0; i < c->n; i++)
        g->filters[i] = c->conditions[i].filter;
    r->gaps = gaps;
    r->n_gaps++;
}

/* The rules of a parameter of each model; without names where all have the same. Where all are
 * `idle` anyway nothing is added, and *added says so. */
static int add_model_rules(const struct slice_context *p, const char *name, const char *filter,
                           const char *option, double idle, bool *added)
{
    struct arena *a = p->b->a;
    struct choice *choices = arena_alloc(a, p->n, sizeof *choices);
    bool same = true, is_idle = true;
    for (size_t i = 0; i < p->n; i++) {
        double x;
        if (choose(p, name, &p->members[i], &choices[i]))
            return -1;
        if (!choices[i].complete)
            add_gap(p, &choices[i], name, &p->members[i]);
        same &= method_same_choice(&choices[0], &choices[i]);
        is_idle &= method_constant(&choices[i], &x) == 0 && x == idle;
    }
    if (added)
        *added = !is_idle;
    if (is_idle)
        return 0;
    struct command *to =
        filter ? pipeline_add(p->line, filter, a) : &p->line->commands[p->line->n - 1];
    for (size_t i = 0; i < (same ? 1 : p->n); i++)
        add_rules(to, option, &choices[i], same ? NULL : p->members[i].party->name, a);
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
    struct choice c;
    double x;
    if (choose(p, name, NULL, &c))
        return -1;
    if (method_constant(&c, &x) == 0 && x == idle)
        return 0;
    add_rules(pipeline_add(p->line, filter, p->b->a), option, &c, NULL, p->b->a);
    return 0;
}

static struct command *add_number(struct command *to, const char *option, double x, double preset,
                                  struct arena *a)
{
    char text[32];
    if (x != preset) {
        command_add(to, option, a);
        command_add(to, arena_printf(a, "%s", number_text(x, text)), a);
    }
    return to;
}

/* ---- the methods ----------------------------------------------------------------------------- */

static int trim(const struct slice_context *p, bool *added)
{
    struct arena *a = p->b->a;
    bool outliers = p->b->method->sparse == SPARSE_OUTLIERS;
    if (add_model_rules(p, "density", "trim", "--density", 1, added))
        return -1;
    if (!*added)
        return 0;
    if (outliers && add_model_rules(p, "gamma", NULL, "--outliers", NAN, NULL))
        return -1;
    struct command *c = &p->line->commands[p->line->n - 1];
    if (outliers && p->b->o->bug_compatible)
        command_add(c, "--bug-compatible", a);
    if (!outliers && p->b->o->paper)
        command_add(c, "--scope=model", a);
    return 0;
}

static int drop(const struct slice_context *p, bool rescales, bool *added)
{
    struct arena *a = p->b->a;
    bool della = p->b->method->sparse == SPARSE_DELLA;
    if (add_model_rules(p, "density", della ? "della-drop" : "dare-drop", "--density", 1, added))
        return -1;
    if (!*added)
        return 0;
    if (della && add_model_rules(p, "epsilon", NULL, "--epsilon", NAN, NULL))
        return -1;
    struct command *c = &p->line->commands[p->line->n - 1];
    command_add(c, "--seed", a);
    command_add(c, arena_printf(a, "%llu", (unsigned long long)p->b->o->seed), a);
    if (rescales && della && p->b->o->paper)
        command_add(c, "--rescale=keep", a);
    if (rescales && !della && !p->b->o->paper)
        command_add(c, "--l1", a);
    return 0;
}

/* Sparsify and rescale. */
static int sparsify(const struct slice_context *p)
{
    enum method_sparse sparse = p->b->method->sparse;
    bool rescales = false, added = false, paper = p->b->o->paper;
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
    struct command *c = pipeline_add(p->line, "rescale", p->b->a);
    command_add(c, "--by", p->b->a);
    command_add(c, keep ? "keep" : "l1", p->b->a);
    return 0;
}

/* task_arithmetic, ties, dare, breadcrumbs, della */
static int task_steps(const struct slice_context *p)
{
    struct arena *a = p->b->a;
    bool normalize;
    if (sparsify(p) || add_weights(p) || choose_flag(p, "normalize", &normalize))
        return -1;
    if (p->b->method->weights == WEIGHTS_VOTE) {
        struct command *c = pipeline_add(p->line, "elect-sign", a);
        if (p->b->o->paper)
            command_add(c, "--unweighted", a);
    }
    struct command *c = pipeline_add(p->line, "combine", a);
    if (normalize)
        command_add(
            c, p->b->method->weights == WEIGHTS_VOTE ? "--normalize=agreeing" : "--normalize=all",
            a);
    return add_global_rules(p, "lambda", "rescale", NULL, 1);
}

static int linear_steps(const struct slice_context *p)
{
    bool normalize;
    if (add_weights(p) || choose_flag(p, "normalize", &normalize))
        return -1;
    struct command *c = pipeline_add(p->line, "combine", p->b->a);
    if (normalize)
        command_add(c, "--normalize=all", p->b->a);
    return 0;
}

static int model_stock_steps(const struct slice_context *p)
{
    bool per_row;
    if (choose_flag(p, "filter_wise", &per_row))
        return -1;
    struct command *c = pipeline_add(p->line, "model-stock", p->b->a);
    if (per_row)
        command_add(c, "--per=row", p->b->a);
    pipeline_add(p->line, "combine", p->b->a);
    return 0;
}

static int nuslerp_steps(const struct slice_context *p)
{
    bool flatten, columns;
    if (add_weights(p) || choose_flag(p, "nuslerp_flatten", &flatten) ||
        choose_flag(p, "nuslerp_row_wise", &columns))
        return -1;
    struct command *c = pipeline_add(p->line, "nuslerp", p->b->a);
    if (!flatten) /* the parameter's name is the other way round */
        command_add(c, columns ? "--along=columns" : "--along=rows", p->b->a);
    return 0;
}

static int sce_steps(const struct slice_context *p)
{
    struct arena *a = p->b->a;
    if (add_global_rules(p, "select_topk", "sce-select", "--topk", 1))
        return -1;
    pipeline_add(p->line, "sce-weigh", a);
    command_add(pipeline_add(p->line, "elect-sign", a), "--unweighted", a);
    struct command *c = pipeline_add(p->line, "combine", a);
    command_add(c, "--normalize=agreeing", a);
    command_add(c, "--floor", a);
    command_add(c, "1e-6", a);
    return 0;
}

static int karcher_steps(const struct slice_context *p)
{
    double steps, tol;
    if (choose_number(p, "max_iter", &steps) || choose_number(p, "tol", &tol))
        return -1;
    if (steps != floor(steps))
        return pipeline_builder_refuse(p->b, p->b->c->line, "max_iter must be a whole number");
    struct command *c = pipeline_add(p->line, "karcher", p->b->a);
    add_number(add_number(c, "--max-iter", steps, 10, p->b->a), "--tol", tol, 1e-5, p->b->a);
    return 0;
}

static int multislerp_steps(const struct slice_context *p)
{
    bool normalize;
    double eps;
    if (add_weights(p) || choose_flag(p, "normalize_weights", &normalize) ||
        choose_number(p, "eps", &eps))
        return -1;
    struct command *c = pipeline_add(p->line, "multislerp", p->b->a);
    if (!normalize)
        command_add(c, "--raw-weights", p->b->a);
    add_number(c, "--eps", eps, 1e-8, p->b->a);
    return 0;
}

static int ram_steps(const struct slice_context *p)
{
    struct arena *a = p->b->a;
    bool plus = parameter(p, "alpha") != NULL;
    double epsilon, r = 0.1, alpha = 0.2;
    if (choose_number(p, "epsilon", &epsilon) || (plus && choose_number(p, "r", &r)) ||
        (plus && choose_number(p, "alpha", &alpha)))
        return -1;
    struct command *c = pipeline_add(p->line, "ram", a);
    if (plus)
        command_add(c, "--plus", a);
    add_number(c, "--epsilon", epsilon, 1e-5, a);
    add_number(c, "--r", r, 0.1, a);
    add_number(c, "--alpha", alpha, 0.2, a);
    return 0;
}

static int slerp_steps(const struct slice_context *p)
{
    return add_global_rules(p, "t", p->b->method->name, "--t", NAN);
}

static int fusion_steps(const struct slice_context *p)
{
    pipeline_add(p->line, "arcee-fusion", p->b->a);
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

int steps_add(const struct slice_context *p)
{
    if (p->b->method->weights == WEIGHTS_LEARNED)
        return expert_merging_steps(p);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(others[i].method, p->b->method->name) == 0)
            return others[i].steps(p);
    return task_steps(p);
}
