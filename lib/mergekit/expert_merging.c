#include "expert_merging.h"

#include "calibrate_options.h"
#include "stage.h"
#include "suggest.h"
#include "number.h"
#include "samples.h"

#include <string.h>

/* What a configuration says otherwise, or what changes no result. */
static const char *const others[] = {"base", "expert",    "onto",   "plus-plus",
                                     "log",  "gradients", "resume", "dry-run"};
/* What a model may have of its own. */
static const char *const own[] = {"samples", "task", "init", "task-weight"};

static bool is_among(const char *word, size_t n, const char *const *words)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    return false;
}

/* The name of a parameter with '-' for '_'; or the other way round. */
static const char *with(char to, const char *name, struct arena *a)
{
    char *text = arena_copy_text_n(a, name, strlen(name));
    for (char *c = text; *c; c++)
        if (strchr("-_", *c))
            *c = to;
    return text;
}

static const struct option_row *row_of(const char *name, struct arena *a)
{
    const char *option = with('-', name, a);
    if (strchr(name, '-') || is_among(option, sizeof others / sizeof *others, others))
        return NULL;
    for (const struct option_row *row = calibrate_options_filter.options; row->name; row++)
        if (strcmp(row->name, option) == 0)
            return row;
    return NULL;
}

bool expert_merging_is_parameter(const char *name)
{
    struct arena a = {0};
    bool is = row_of(name, &a) != NULL;
    arena_free(&a);
    return is;
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool is_list(const struct option_row *row)
{
    return row->kind == OPTION_STRINGS || row->kind == OPTION_RULES;
}

/* Value i as the option takes it; NULL for a flag that is not set. */
static const char *value_of(const struct config_parameter *s, const struct option_row *row,
                            size_t i, struct arena *a)
{
    char number[32];
    double x = s->number_error ? NAN : s->conditions[0].values[i];
    if (row->kind == OPTION_FLAG)
        return x == 0 ? NULL : s->texts[i];
    if (row->kind == OPTION_NUMBER && !s->number_error)
        return arena_printf(a, "%s", number_format(x, number));
    if (row->kind == OPTION_COUNT && !s->number_error && x >= 0 && x <= 1e15 && x == floor(x))
        return arena_printf(a, "%.0f", x);
    return s->texts[i];
}

/* A list in an option that takes one text: 0,4,8 */
static const char *joined(const struct config_parameter *s, struct arena *a)
{
    const char *text = s->texts[0];
    for (size_t i = 1; i < s->n_texts; i++)
        text = arena_printf(a, "%s,%s", text, s->texts[i]);
    return text;
}

static int check_value(const struct pipeline_builder *b, const struct config_parameter *s,
                       const struct option_row *row)
{
    struct error why;
    struct stage *stage = stage_new(&calibrate_options_filter);
    bool flag = row->kind == OPTION_FLAG, wrong = false;
    for (size_t i = 0; i < s->n_texts && !flag && !wrong; i++)
        wrong = stage_set_option(stage, row, value_of(s, row, i, b->a), &why) != 0;
    stage_free(stage);
    if (s->n_texts == 0)
        return pipeline_builder_error(b, s->line, "%s takes a value, and no filters", s->name);
    if (s->n_texts > 1 && !is_list(row) && row->kind != OPTION_STRING)
        return pipeline_builder_error(b, s->line, "%s takes one value, not a list", s->name);
    if (flag &&
        (s->number_error || (s->conditions[0].values[0] != 0 && s->conditions[0].values[0] != 1)))
        return pipeline_builder_error(b, s->line, "%s must be true or false", s->name);
    return wrong ? pipeline_builder_error(b, s->line, "%s", why.text) : 0;
}

static int refuse_name(const struct pipeline_builder *b, const struct config_parameter *s)
{
    const char *names[80];
    size_t n = 0;
    for (const struct option_row *row = calibrate_options_filter.options; row->name && n < 80;
         row++)
        if (row_of(with('_', row->name, b->a), b->a))
            names[n++] = with('_', row->name, b->a);
    const char *near = suggest_word(s->name, n, names);
    return pipeline_builder_error(b, s->line, "%s has no parameter %s%s%s%s", b->method->name,
                                  s->name, near ? " (is " : "", near ? near : "",
                                  near ? " meant?)" : "");
}

int expert_merging_check_parameters(const struct pipeline_builder *b, const struct settings *s,
                                    bool of_model)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct config_parameter *setting = &s->items[i];
        const struct option_row *row = row_of(setting->name, b->a);
        if (!row)
            return refuse_name(b, setting);
        if (of_model && !is_among(row->name, sizeof own / sizeof *own, own))
            return pipeline_builder_error(
                b, setting->line, "%s belongs to the whole merge, not to a model", setting->name);
        if (!(of_model && strcmp(row->name, "task") == 0) && check_value(b, setting, row))
            return -1;
    }
    return 0;
}

/* ---- the command ----------------------------------------------------------------------------- */

static const struct config_parameter *find(const struct slice_context *p, const struct settings *s,
                                           const char *name)
{
    return s ? config_parameters_find(s, with('_', name, p->builder->a)) : NULL;
}

/* What is set for all models: by the module, or by the document. */
static const struct config_parameter *find_for_all(const struct slice_context *p, const char *name)
{
    const struct config_parameter *s = find(p, &p->builder->config->module_parameters, name);
    return s ? s : find(p, &p->builder->config->parameters, name);
}

static void add_for_all(const struct slice_context *p, struct pipeline_command *c,
                        const struct option_row *row)
{
    struct arena *a = p->builder->a;
    const struct config_parameter *s = find_for_all(p, row->name);
    if (!s)
        return;
    if (row->kind == OPTION_FLAG && value_of(s, row, 0, a))
        pipeline_add_word(c, arena_printf(a, "--%s", row->name), a);
    else if (row->kind == OPTION_STRING)
        pipeline_builder_add_option(c, row->name, joined(s, a), a);
    else if (row->kind != OPTION_FLAG)
        for (size_t i = 0; i < s->n_texts; i++)
            pipeline_builder_add_option(c, row->name, value_of(s, row, i, a), a);
}

/* --task TASK=MODEL: the tasks that are said to be a model's, or else those that its files of
 * samples are named after. */
static void add_tasks(const struct slice_context *p, struct pipeline_command *c,
                      const struct slice_model *m)
{
    struct arena *a = p->builder->a;
    const struct config_parameter *said = find(p, &m->source->parameters, "task");
    const struct config_parameter *files = find(p, &m->source->parameters, "samples");
    const struct config_parameter *s = said ? said : files;
    for (size_t i = 0; s && i < s->n_texts; i++) {
        const char *task = said ? s->texts[i] : samples_default_task(s->texts[i], a);
        if (said || strcmp(task, m->input->name) != 0)
            pipeline_builder_add_option(c, "task", arena_printf(a, "%s=%s", task, m->input->name),
                                        a);
    }
}

static void add_samples(const struct slice_context *p, struct pipeline_command *c,
                        const struct slice_model *m)
{
    const struct config_parameter *s = find(p, &m->source->parameters, "samples");
    for (size_t i = 0; s && i < s->n_texts; i++)
        pipeline_builder_add_option(c, "samples", s->texts[i], p->builder->a);
}

/* --init and --task-weight of one model, behind those of all. */
static void add_rules(const struct slice_context *p, struct pipeline_command *c,
                      const struct slice_model *m, const char *name)
{
    struct arena *a = p->builder->a;
    const struct config_parameter *s = find(p, &m->source->parameters, name);
    for (size_t i = 0; s && i < s->n_texts; i++)
        pipeline_builder_add_option(
            c, name,
            arena_printf(a, "%s=%s", pipeline_builder_escape_glob(m->input->name, a), s->texts[i]),
            a);
}

static int check_section(const struct slice_context *p)
{
    const struct pipeline_builder *b = p->builder;
    bool samples = find_for_all(p, "samples") != NULL, on_disk = !p->base->document;
    if (b->config->has_slices)
        return pipeline_builder_error(b, p->slice->line, "%s merges whole models, not slices",
                                      b->method->name);
    for (size_t i = 0; i < p->n_models; i++) {
        const struct config_source *s = p->models[i].source;
        on_disk &= !p->models[i].input->document;
        if (!samples && !find(p, &s->parameters, "samples"))
            return pipeline_builder_error(b, s->line, "%s needs samples for %s", b->method->name,
                                          p->models[i].input->name);
    }
    return on_disk ? 0
                   : pipeline_builder_error(b, p->slice->line,
                                            "%s takes models on disk, no results of others",
                                            b->method->name);
}

int expert_merging_add_steps(const struct slice_context *p)
{
    struct arena *a = p->builder->a;
    if (check_section(p))
        return -1;
    struct pipeline_command *c = pipeline_add_command(p->pipeline, "calibrate", a);
    if (strcmp(p->builder->method->name, "expert_merging_pp") == 0)
        pipeline_add_word(c, "--plus-plus", a);
    pipeline_builder_add_option(c, "base", p->base->operand, a);
    for (size_t i = 0; i < p->n_models; i++)
        pipeline_builder_add_option(c, "expert", p->models[i].input->operand, a);
    for (size_t i = 0; i < p->n_models; i++)
        add_samples(p, c, &p->models[i]);
    for (size_t i = 0; i < p->n_models; i++)
        add_tasks(p, c, &p->models[i]);
    for (const struct option_row *row = calibrate_options_filter.options; row->name; row++)
        add_for_all(p, c, row);
    for (size_t i = 0; i < p->n_models; i++) {
        add_rules(p, c, &p->models[i], "init");
        add_rules(p, c, &p->models[i], "task-weight");
    }
    pipeline_add_command(p->pipeline, "combine", a);
    return 0;
}
