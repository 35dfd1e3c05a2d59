#include "recipe.h"

#include "chat.h"
#include "filter.h"
#include "input.h"
#include "method.h"
#include "party.h"

#include <stdarg.h>
#include <string.h>

#define DOCUMENTS_DEEP 16 /* results of documents that use results */

/* The making of one document's pipeline. */
struct build {
    const struct config_file *file;
    const struct config *c;
    const struct recipe_options *o;
    const struct method *method;
    const char *tool;
    struct parties parties;
    struct recipe *r;
    size_t depth;
    struct arena *a;
    struct error *e;
};

/* A model in one slice; `source` is NULL for a base that is not listed. */
struct member {
    const struct party *party;
    const struct config_source *source;
};

/* One slice: the base, where it counts apart, and the models. */
struct part {
    struct build *b;
    const struct config_slice *slice;
    const struct party *base;
    const struct config_source *base_source;
    size_t n;
    struct member *members;
    long first_layer; /* of its layers in the result; -1: the slice is the whole model */
    struct line *line;
};

/* Always -1. */
static int refuse(const struct build *b, size_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int refuse(const struct build *b, size_t line, const char *format, ...)
{
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_set(b->e, "%.200s, line %zu: %s", b->file->path, line, text);
}

static void warn(const struct build *b, size_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void warn(const struct build *b, size_t line, const char *format, ...)
{
    struct error text;
    char sentence[700];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    error_set(&text, "%s: warning: %.200s, line %zu: %s", b->tool, b->file->path, line, sentence);
    fprintf(stderr, "%s\n", text.text);
}

/* ---- rules ----------------------------------------------------------------------------------- */

/* A name as a pattern that matches it alone; the first character is no sign of an option or file.
 */
static const char *as_glob(const char *name, struct arena *a)
{
    char *glob = arena_alloc(a, 2 * strlen(name) + 1, 1), *to = glob;
    for (const char *c = name; *c; c++) {
        if (strchr("*?[]\\", *c) || (c == name && strchr("-@/", *c)))
            *to++ = '\\';
        *to++ = *c;
    }
    return glob;
}

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
    const char *value = value_text(c, a), *glob = c->filter ? as_glob(c->filter, a) : NULL;
    const char *name = model ? as_glob(model, a) : "";
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

static const struct parameter *parameter(const struct part *p, const char *name)
{
    return method_parameter(p->b->method, name);
}

/* What the configuration gives a parameter, for a member or (NULL) globally. */
static int choose(const struct part *p, const char *name, const struct member *m, struct choice *c)
{
    struct build *b = p->b;
    struct levels levels = {0};
    if (m && m->source)
        levels.settings[levels.n++] = &m->source->parameters;
    levels.settings[levels.n++] = &p->slice->parameters;
    levels.settings[levels.n++] = &b->c->module;
    levels.settings[levels.n++] = &b->c->parameters;
    if (method_choose(c, parameter(p, name), &levels, b->file->path, b->a, b->e))
        return -1;
    if (c->n == 0)
        return refuse(b, m && m->source ? m->source->line : b->c->line, "%s needs %s%s%s",
                      b->method->name, name, m ? " for " : "", m ? m->party->name : "");
    return 0;
}

/* A global parameter of which there is one value only. */
static int choose_number(const struct part *p, const char *name, double *x)
{
    struct choice c;
    if (choose(p, name, NULL, &c))
        return -1;
    return method_constant(&c, x) == 0
               ? 0
               : refuse(p->b, c.line, "%s differs between tensors, which is not supported", name);
}

static int choose_flag(const struct part *p, const char *name, bool *flag)
{
    struct choice c;
    double x = 0;
    bool lenient = strcmp(name, "normalize_weights") == 0;
    if (choose_number(p, name, &x) || choose(p, name, NULL, &c))
        return -1;
    *flag = x != 0;
    return lenient || x == 0 || x == 1 ? 0 : refuse(p->b, c.line, "%s must be true or false", name);
}

/* Notes that a required weight is not there for every tensor's name. */
static void add_gap(const struct part *p, const struct choice *c, const char *name,
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
static int add_model_rules(const struct part *p, const char *name, const char *filter,
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
    struct command *to = filter ? line_add(p->line, filter, a) : &p->line->commands[p->line->n - 1];
    for (size_t i = 0; i < (same ? 1 : p->n); i++)
        add_rules(to, option, &choices[i], same ? NULL : p->members[i].party->name, a);
    return 0;
}

static int add_weights(const struct part *p)
{
    return add_model_rules(p, "weight", "weigh", NULL, 1, NULL);
}

/* The rules of a global parameter, as options or operands of a new command. */
static int add_global_rules(const struct part *p, const char *name, const char *filter,
                            const char *option, double idle)
{
    struct choice c;
    double x;
    if (choose(p, name, NULL, &c))
        return -1;
    if (method_constant(&c, &x) == 0 && x == idle)
        return 0;
    add_rules(line_add(p->line, filter, p->b->a), option, &c, NULL, p->b->a);
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

static int trim(const struct part *p, bool *added)
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

static int drop(const struct part *p, bool rescales, bool *added)
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
static int sparsify(const struct part *p)
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
    struct command *c = line_add(p->line, "rescale", p->b->a);
    command_add(c, "--by", p->b->a);
    command_add(c, keep ? "keep" : "l1", p->b->a);
    return 0;
}

/* task_arithmetic, ties, dare, breadcrumbs, della */
static int task_steps(const struct part *p)
{
    struct arena *a = p->b->a;
    bool normalize;
    if (sparsify(p) || add_weights(p) || choose_flag(p, "normalize", &normalize))
        return -1;
    if (p->b->method->elects) {
        struct command *c = line_add(p->line, "elect-sign", a);
        if (p->b->o->paper)
            command_add(c, "--unweighted", a);
    }
    struct command *c = line_add(p->line, "combine", a);
    if (normalize)
        command_add(c, p->b->method->elects ? "--normalize=agreeing" : "--normalize=all", a);
    return add_global_rules(p, "lambda", "rescale", NULL, 1);
}

static int linear_steps(const struct part *p)
{
    bool normalize;
    if (add_weights(p) || choose_flag(p, "normalize", &normalize))
        return -1;
    struct command *c = line_add(p->line, "combine", p->b->a);
    if (normalize)
        command_add(c, "--normalize=all", p->b->a);
    return 0;
}

static int model_stock_steps(const struct part *p)
{
    bool per_row;
    if (choose_flag(p, "filter_wise", &per_row))
        return -1;
    struct command *c = line_add(p->line, "model-stock", p->b->a);
    if (per_row)
        command_add(c, "--per=row", p->b->a);
    line_add(p->line, "combine", p->b->a);
    return 0;
}

static int nuslerp_steps(const struct part *p)
{
    bool flatten, columns;
    if (add_weights(p) || choose_flag(p, "nuslerp_flatten", &flatten) ||
        choose_flag(p, "nuslerp_row_wise", &columns))
        return -1;
    struct command *c = line_add(p->line, "nuslerp", p->b->a);
    if (!flatten) /* the parameter's name is the other way round */
        command_add(c, columns ? "--along=columns" : "--along=rows", p->b->a);
    return 0;
}

static int sce_steps(const struct part *p)
{
    struct arena *a = p->b->a;
    if (add_global_rules(p, "select_topk", "sce-select", "--topk", 1))
        return -1;
    line_add(p->line, "sce-weigh", a);
    command_add(line_add(p->line, "elect-sign", a), "--unweighted", a);
    struct command *c = line_add(p->line, "combine", a);
    command_add(c, "--normalize=agreeing", a);
    command_add(c, "--floor", a);
    command_add(c, "1e-6", a);
    return 0;
}

static int karcher_steps(const struct part *p)
{
    double steps, tol;
    if (choose_number(p, "max_iter", &steps) || choose_number(p, "tol", &tol))
        return -1;
    if (steps != floor(steps))
        return refuse(p->b, p->b->c->line, "max_iter must be a whole number");
    struct command *c = line_add(p->line, "karcher", p->b->a);
    add_number(add_number(c, "--max-iter", steps, 10, p->b->a), "--tol", tol, 1e-5, p->b->a);
    return 0;
}

static int multislerp_steps(const struct part *p)
{
    bool normalize;
    double eps;
    if (add_weights(p) || choose_flag(p, "normalize_weights", &normalize) ||
        choose_number(p, "eps", &eps))
        return -1;
    struct command *c = line_add(p->line, "multislerp", p->b->a);
    if (!normalize)
        command_add(c, "--raw-weights", p->b->a);
    add_number(c, "--eps", eps, 1e-8, p->b->a);
    return 0;
}

static int ram_steps(const struct part *p)
{
    struct arena *a = p->b->a;
    bool plus = parameter(p, "alpha") != NULL;
    double epsilon, r = 0.1, alpha = 0.2;
    if (choose_number(p, "epsilon", &epsilon) || (plus && choose_number(p, "r", &r)) ||
        (plus && choose_number(p, "alpha", &alpha)))
        return -1;
    struct command *c = line_add(p->line, "ram", a);
    if (plus)
        command_add(c, "--plus", a);
    add_number(c, "--epsilon", epsilon, 1e-5, a);
    add_number(c, "--r", r, 0.1, a);
    add_number(c, "--alpha", alpha, 0.2, a);
    return 0;
}

static int slerp_steps(const struct part *p)
{
    return add_global_rules(p, "t", p->b->method->name, "--t", NAN);
}

static int fusion_steps(const struct part *p)
{
    line_add(p->line, "arcee-fusion", p->b->a);
    return 0;
}

static int passthrough_steps(const struct part *p)
{
    return add_model_rules(p, "scale", "rescale", NULL, 1, NULL);
}

static const struct {
    const char *method;
    int (*steps)(const struct part *);
} others[] = {
    {"linear", linear_steps},       {"slerp", slerp_steps},
    {"nearswap", slerp_steps},      {"model_stock", model_stock_steps},
    {"nuslerp", nuslerp_steps},     {"sce", sce_steps},
    {"karcher", karcher_steps},     {"multislerp", multislerp_steps},
    {"arcee_fusion", fusion_steps}, {"ram", ram_steps},
    {"ramplus_tl", ram_steps},      {"passthrough", passthrough_steps},
};

static int add_steps(const struct part *p)
{
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(others[i].method, p->b->method->name) == 0)
            return others[i].steps(p);
    return task_steps(p);
}

/* ---- who takes part -------------------------------------------------------------------------- */

static bool is_listed(const struct part *p, const struct party *party)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->members[i].party == party)
            return true;
    return false;
}

/* The models of a slice, each once, and the base apart from them where the method says so. */
static int find_members(struct part *p)
{
    struct build *b = p->b;
    const char *base = p->slice->base ? p->slice->base : b->c->base;
    const struct party *origin = base ? parties_get(&b->parties, base, b->a) : NULL;
    bool apart = b->method->base == BASE_ORIGIN || b->method->base == BASE_NEEDED;
    p->members = arena_alloc(b->a, p->slice->n + 1, sizeof *p->members);
    for (size_t i = 0; i < p->slice->n; i++) {
        const struct config_source *s = &p->slice->sources[i];
        const struct party *party = parties_get(&b->parties, s->model, b->a);
        if (party == origin && !p->base_source)
            p->base_source = s;
        if (is_listed(p, party) || (apart && party == origin))
            continue;
        p->members[p->n++] = (struct member){party, s};
    }
    p->base = apart ? origin : NULL;
    if (b->method->base == BASE_NEEDED && !origin)
        return refuse(b, b->c->line, "%s needs a base_model", b->method->name);
    if (b->method->base == BASE_NONE && origin)
        return refuse(b, b->c->base_line, "%s takes no base_model", b->method->name);
    if (apart && origin && b->c->has_slices && !p->base_source)
        return refuse(b, p->slice->line, "the base %s must be among the sources of every slice",
                      origin->name);
    if (b->method->base == BASE_MEMBER && origin && !b->c->has_slices && !is_listed(p, origin))
        p->members[p->n++] = (struct member){origin, NULL};
    return 0;
}

static int check_count(const struct part *p)
{
    const struct method *m = p->b->method;
    if (p->n >= m->min && p->n <= m->max)
        return 0;
    return refuse(p->b, p->slice->line, "%s takes %s%zu model%s%s, but there %s %zu", m->name,
                  m->min == m->max ? "exactly "
                  : p->n < m->min  ? "at least "
                                   : "at most ",
                  p->n < m->min ? m->min : m->max,
                  (p->n < m->min ? m->min : m->max) == 1 ? "" : "s",
                  p->base ? " besides the base" : "", p->n == 1 ? "is" : "are", p->n);
}

/* ---- operands -------------------------------------------------------------------------------- */

static int document_line(struct build *outer, const struct party *party, struct line *line);

/* A model as an operand: what is on disk, or the pipeline of the document that makes it. */
static int add_operand(struct build *b, struct command *to, const struct party *party,
                       const struct config_source *range)
{
    const char *after =
        range && range->has_range ? arena_printf(b->a, "[%ld:%ld]", range->from, range->to) : "";
    struct word *w = command_add_word(to, b->a);
    w->text = party->operand;
    if (!party->result) {
        w->text = arena_printf(b->a, "%s%s", party->operand, after);
        return 0;
    }
    w->after = after;
    w->inner = arena_alloc(b->a, 1, sizeof *w->inner);
    return document_line(b, party, w->inner);
}

static void add_option(struct command *to, const char *option, const char *value, struct arena *a)
{
    if (value)
        command_add(to, arena_printf(a, "--%s=%s", option, value), a);
}

static void add_dtype(struct command *to, enum dtype dtype, struct arena *a)
{
    if (dtype != DTYPE_NONE)
        add_option(to, "dtype", dtype_torch_name(dtype), a);
}

/* Does the source put out task vectors? Not where nobody but the base takes part. */
static bool is_vectors(const struct part *p)
{
    return p->b->method->vectors && p->base && p->n > 0;
}

/* Is there nothing to join, for one model is all that is there? */
static bool is_alone(const struct part *p)
{
    bool one = p->n == 1 && strcmp(p->b->method->name, "multislerp") == 0;
    return (p->base && p->n == 0) || one;
}

static int add_source(struct part *p)
{
    struct build *b = p->b;
    bool vectors = is_vectors(p) && !is_alone(p);
    struct command *c = line_add(p->line, vectors ? "tv-extract" : "unpack", b->a);
    add_dtype(c, b->c->dtype, b->a);
    add_option(c, "missing", b->o->missing, b->a);
    add_option(c, "embed", b->o->embed, b->a);
    add_option(c, "mismatch", b->o->mismatch, b->a);
    if (p->first_layer >= 0)
        add_option(c, "first-layer", arena_printf(b->a, "%ld", p->first_layer), b->a);
    bool needs_base = p->base && (p->n == 0 || !is_alone(p));
    if (needs_base && add_operand(b, c, p->base, p->base_source))
        return -1;
    for (size_t i = 0; i < p->n; i++)
        if (add_operand(b, &p->line->commands[0], p->members[i].party, p->members[i].source))
            return -1;
    return 0;
}

/* From the models to their merge: task vectors that still need their base, or weights. */
static int add_part(struct part *p)
{
    if (find_members(p) || check_count(p) || add_source(p))
        return -1;
    return is_alone(p) ? 0 : add_steps(p);
}

static int finish_vectors(const struct part *p)
{
    if (!is_vectors(p) || is_alone(p))
        return 0;
    return add_operand(p->b, line_add(p->line, "add-base", p->b->a), p->base, p->base_source);
}

static struct part new_part(struct build *b, size_t i, struct line *line)
{
    struct part p = {.b = b, .slice = &b->c->slices[i], .line = line, .first_layer = -1};
    if (!b->c->has_slices)
        return p;
    p.first_layer = 0;
    for (size_t j = 0; j < i; j++)
        p.first_layer += b->c->slices[j].sources[0].to - b->c->slices[j].sources[0].from;
    return p;
}

/* All slices as one stream of weights. */
static int add_weight_stream(struct build *b, struct line *line)
{
    struct part p = new_part(b, 0, line);
    if (b->c->n == 1)
        return add_part(&p) || finish_vectors(&p) ? -1 : 0;
    struct command *c = line_add(line, "stack", b->a);
    for (size_t i = 0; i < b->c->n; i++) {
        struct word *w = command_add_word(c, b->a);
        w->text = "";
        w->inner = arena_alloc(b->a, 1, sizeof *w->inner);
        p = new_part(b, i, w->inner);
        if (add_part(&p) || finish_vectors(&p))
            return -1;
    }
    return 0;
}

/* ---- names that nobody knows ----------------------------------------------------------------- */

static int check_settings(const struct build *b, const struct settings *s, bool of_model)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct setting *own = &s->settings[i];
        const struct parameter *p = method_parameter(b->method, own->name);
        const char *near = method_nearest_parameter(own->name);
        if (!method_is_parameter(own->name))
            return refuse(b, own->line, "no method has a parameter %s%s%s%s", own->name,
                          near ? " (is " : "", near ? near : "", near ? " meant?)" : "");
        if (!p)
            warn(b, own->line, "%s is no parameter of %s and has no effect", own->name,
                 b->method->name);
        else if (of_model && p->kind == GLOBAL)
            warn(b, own->line,
                 "%s has no effect here: it belongs to the whole merge, not to a model", own->name);
    }
    return 0;
}

static int check_names(struct build *b)
{
    const struct config *c = b->c;
    b->method = method_find(c->method);
    if (!b->method) {
        const char *near = method_nearest(c->method);
        return refuse(b, c->method_line, "no merge method is called %s%s%s%s", c->method,
                      near ? " (is " : "", near ? near : "", near ? " meant?)" : "");
    }
    if (check_settings(b, &c->parameters, false) || check_settings(b, &c->module, false))
        return -1;
    for (size_t i = 0; i < c->n; i++) {
        if (check_settings(b, &c->slices[i].parameters, false))
            return -1;
        for (size_t j = 0; j < c->slices[i].n; j++)
            if (check_settings(b, &c->slices[i].sources[j].parameters, true))
                return -1;
    }
    return 0;
}

/* ---- documents ------------------------------------------------------------------------------- */

static int start(struct build *b, const struct config *c)
{
    b->c = c;
    if (check_names(b) || parties_find(&b->parties, b->file, c, b->a, b->e))
        return -1;
    struct recipe *r = b->r;
    const char **models = arena_alloc(b->a, r->n_models + b->parties.n, sizeof *models);
    if (r->n_models)
        memcpy(models, r->models, r->n_models * sizeof *models);
    r->models = models;
    for (size_t i = 0; i < b->parties.n; i++) {
        bool known = b->parties.items[i].result != NULL;
        for (size_t j = 0; j < r->n_models; j++)
            known |= strcmp(models[j], b->parties.items[i].file) == 0;
        if (!known)
            models[r->n_models++] = b->parties.items[i].file;
    }
    return 0;
}

/* The model on disk whose config and tokenizer the result of a document gets. */
static const char *lender_of(const struct build *b, const struct config *c)
{
    const char *model = c->base;
    for (size_t depth = 0; depth < DOCUMENTS_DEEP; depth++) {
        if (!model)
            model = c->slices[0].base ? c->slices[0].base : c->slices[0].sources[0].model;
        struct parties all;
        struct error ignored;
        parties_find(&all, b->file, c, b->a, &ignored);
        const struct party *p = parties_get(&all, model, b->a);
        if (!p->result)
            return p->file;
        c = p->result;
        model = c->base;
    }
    return NULL; /* a circle, which is refused when it is walked */
}

/* The dtype of most elements of a model on disk; DTYPE_NONE if it cannot be read. */
static enum dtype stored_dtype(const struct build *b, const char *path)
{
    struct error ignored;
    uint64_t count[DTYPE_COUNT] = {0};
    enum dtype most = DTYPE_NONE;
    struct input *in = path ? input_open(path, NULL, b->tool, &ignored) : NULL;
    for (size_t i = 0; in && i < input_count(in); i++)
        count[input_tensor(in, i)->dtype] += input_tensor(in, i)->elements;
    input_close(in);
    for (int d = 0; d < DTYPE_COUNT; d++)
        if (dtype_is_float((enum dtype)d) && count[d] > count[most])
            most = (enum dtype)d;
    return most;
}

static enum dtype said_dtype(const struct config *c)
{
    return c->out_dtype != DTYPE_NONE ? c->out_dtype : c->dtype;
}

/* In what a document's result would stand in its file. */
static enum dtype result_dtype(const struct build *b, const struct config *c)
{
    return said_dtype(c) != DTYPE_NONE ? said_dtype(c) : stored_dtype(b, lender_of(b, c));
}

/* The pipeline of a document that another one uses: a stream of its weights, rounded as its file
 * would be unless whoever reads it does so. */
static int document_line(struct build *outer, const struct party *party, struct line *line)
{
    struct build b = *outer;
    if (++b.depth > DOCUMENTS_DEEP)
        return refuse(outer, party->result->line,
                      "%s uses itself, or results of results that are nested too deep",
                      party->name);
    enum dtype dtype = result_dtype(&b, party->result);
    struct line *own = line;
    if (dtype != DTYPE_NONE && dtype != DTYPE_F32 && dtype != outer->c->dtype) {
        struct command *c = line_add(line, "unpack", b.a);
        add_dtype(c, dtype, b.a);
        struct word *w = command_add_word(c, b.a);
        w->text = party->operand;
        own = w->inner = arena_alloc(b.a, 1, sizeof *w->inner);
    }
    return start(&b, party->result) ? -1 : add_weight_stream(&b, own);
}

/* ---- the end of the pipeline ----------------------------------------------------------------- */

static const char *tokenizer_model(const struct build *b)
{
    const struct config *c = b->c;
    if (!c->tokenizer)
        return NULL;
    bool base = strcmp(c->tokenizer, "base") == 0;
    const struct party *p =
        base && !c->base ? NULL : parties_get(&b->parties, base ? c->base : c->tokenizer, b->a);
    if (!p)
        return NULL;
    return p->result ? lender_of(b, p->result) : p->file;
}

/* Tokenizer and chat template, where they are others than the lender's. */
static int add_tokenizer(struct build *b, struct command *pack)
{
    const struct config *c = b->c;
    struct recipe *r = b->r;
    const char *template;
    r->tokenizer = tokenizer_model(b);
    if (c->tokenizer && !r->tokenizer)
        return refuse(b, c->tokenizer_line, "tokenizer_source is base, but there is no base_model");
    if (r->tokenizer && strcmp(r->tokenizer, r->lender) != 0)
        add_option(pack, "tokenizer", r->tokenizer, b->a);
    else if (!r->tokenizer && b->o->no_tokenizer)
        command_add(pack, "--no-tokenizer", b->a);
    if (!c->chat_template)
        return 0;
    if (!r->tokenizer && b->o->no_tokenizer) {
        warn(b, c->chat_line, "chat_template has no effect without a tokenizer");
        return 0;
    }
    if (chat_find(c->chat_template, r->n_models, r->models, &template, b->a, b->e)) {
        struct error why = *b->e;
        return refuse(b, c->chat_line, "chat_template: %s", why.text);
    }
    add_option(pack, "chat-template", template, b->a);
    return 0;
}

static int add_pack(struct build *b, const struct part *alone, const char *out)
{
    struct arena *a = b->a;
    const struct party *base = alone && is_vectors(alone) && !is_alone(alone) ? alone->base : NULL;
    if (b->o->n_only) {
        struct command *pick = line_add(&b->r->line, "pick", a);
        for (size_t i = 0; i < b->o->n_only; i++)
            command_add(pick, arena_printf(a, "/%s", b->o->only[i]), a);
    }
    struct command *pack = line_add(&b->r->line, "pack", a);
    command_add(pack, base ? "--base" : "--like", a);
    command_add(pack, base ? base->operand : b->r->lender, a);
    if (base && b->o->n_only)
        command_add(pack, "--no-fill", a);
    add_dtype(pack, b->c->out_dtype, a);
    if (b->o->shard_parameters) {
        enum dtype dtype = result_dtype(b, b->c);
        uint64_t bytes = dtype_bits(dtype == DTYPE_NONE ? DTYPE_F32 : dtype) / 8;
        bytes = b->o->shard_parameters > UINT64_MAX / bytes ? UINT64_MAX
                                                            : bytes * b->o->shard_parameters;
        add_option(pack, "shard-size", arena_printf(a, "%llu", (unsigned long long)bytes), a);
    }
    if (b->o->force)
        command_add(pack, "--force", a);
    if (add_tokenizer(b, pack))
        return -1;
    if (*out == '-' && out[1])
        out = arena_printf(a, "./%s", out);
    command_add(pack, out, a);
    return 0;
}

/* The document whose result is wanted: the one without a name, or else the last. */
static const struct config *final_document(const struct build *b)
{
    const struct config *found = NULL;
    for (size_t i = 0; i < b->file->n; i++) {
        const struct config *c = &b->file->documents[i];
        for (size_t j = 0; j < i && c->name; j++)
            if (b->file->documents[j].name && strcmp(b->file->documents[j].name, c->name) == 0) {
                refuse(b, c->line, "two documents are called %s", c->name);
                return NULL;
            }
        if (!c->name && found && !found->name && b->file->n > 1) {
            refuse(b, c->line, "two documents have no name");
            return NULL;
        }
        if (!found || found->name)
            found = c;
    }
    return found;
}

int recipe_make(struct recipe *r, const struct config_file *f, const char *out,
                const struct recipe_options *o, const char *tool, struct arena *a, struct error *e)
{
    struct build b = {.file = f, .o = o, .tool = tool, .r = r, .a = a, .e = e};
    *r = (struct recipe){.path = f->path};
    r->config = final_document(&b);
    if (!r->config || start(&b, r->config))
        return -1;
    r->dtype = said_dtype(r->config);
    r->lender = lender_of(&b, r->config);
    if (!r->lender)
        return refuse(&b, r->config->line, "the documents use each other in a circle");
    struct part p = new_part(&b, 0, &r->line);
    if (r->config->has_slices)
        return add_weight_stream(&b, &r->line) || add_pack(&b, NULL, out) ? -1 : 0;
    if (add_part(&p))
        return -1;
    bool base_on_disk = !p.base || !p.base->result;
    if (!base_on_disk && finish_vectors(&p))
        return -1;
    return add_pack(&b, base_on_disk ? &p : NULL, out);
}
