#include "stage.h"
#include "expert_merging_steps.h"

#include "calibrate_options.h"
#include "number.h"
#include "samples.h"
#include "spelling_suggestion.h"

#include <math.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Options of calibrate that are no parameters: they follow from models and method, or do not change
 * the result. */
static const char *const excluded_options[] = {"base", "expert",    "onto",   "plus-plus",
                                               "log",  "gradients", "resume", "dry-run"};
/* The parameter that is no option: a filter before calibrate. */
static const char clean_parameter[] = "clean";
/* Options that a single model may set. */
static const char *const model_options[] = {"samples", "task", "init", "task-weight"};

static bool word_list_contains(const char *const *words, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    return false;
}

/* The name with `separator` in place of every '-' and '_'. */
static const char *replace_separators(char separator, const char *name, struct arena *a)
{
    char *text = arena_copy_text(a, name);
    for (char *c = text; *c; c++)
        if (strchr("-_", *c))
            *c = separator;
    return text;
}

/* The option of calibrate that a parameter sets; NULL if there is none. */
static const struct option_row *find_calibrate_option(const char *parameter, struct arena *a)
{
    const char *option = replace_separators('-', parameter, a);
    if (strchr(parameter, '-') ||
        word_list_contains(excluded_options, COUNT(excluded_options), option))
        return NULL;
    for (const struct option_row *row = calibrate_options_filter.options; row->name; row++)
        if (strcmp(row->name, option) == 0)
            return row;
    return NULL;
}

bool expert_merging_steps_is_parameter(const char *name)
{
    struct arena a = {0};
    bool found = strcmp(name, clean_parameter) == 0 || find_calibrate_option(name, &a) != NULL;
    arena_free(&a);
    return found;
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool option_takes_list(const struct option_row *row)
{
    return row->kind == OPTION_STRINGS || row->kind == OPTION_RULES;
}

/* Value i of a parameter as text for the option; NULL for a flag that is off. */
static const char *format_option_value(const struct config_parameter *p,
                                       const struct option_row *row, size_t i, struct arena *a)
{
    char number[32];
    const struct conditional_value *c = &p->conditions[0];
    double x = c->number_error && row->kind != OPTION_FLAG ? NAN : c->values[i];
    if (row->kind == OPTION_FLAG)
        return x == 0 ? NULL : p->texts[i];
    if (row->kind == OPTION_NUMBER && !c->number_error)
        return arena_copy_text(a, number_format(x, number));
    if (row->kind == OPTION_COUNT && x >= 0 && x <= 1e15 && x == floor(x))
        return arena_printf(a, "%.0f", x);
    return p->texts[i];
}

/* A list for an option that takes one string: 0,4,8 */
static const char *join_texts_by_commas(const struct config_parameter *p, struct arena *a)
{
    const char *text = p->texts[0];
    for (size_t i = 1; i < p->n_texts; i++)
        text = arena_printf(a, "%s,%s", text, p->texts[i]);
    return text;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static bool is_boolean(const struct config_parameter *p)
{
    return !p->conditions[0].flag_error;
}

/* Does the option accept all values? The sentence says why not. */
static int try_option_values(const struct config_parameter *p, const struct option_row *row,
                             struct arena *a, struct error *e)
{
    struct stage *stage = stage_new(&calibrate_options_filter);
    int failed = 0;
    for (size_t i = 0; i < p->n_texts && !failed; i++)
        failed = stage_set_option(stage, row, format_option_value(p, row, i, a), e);
    stage_free(stage);
    return failed;
}

static int check_parameter_value(const struct pipeline_builder *b, const struct config_parameter *p,
                                 const struct option_row *row)
{
    struct error why;
    if (p->n_texts == 0)
        return pipeline_builder_error(b, p->line, "%s must be a value without filters", p->name);
    if (p->n_texts > 1 && !option_takes_list(row) && row->kind != OPTION_STRING)
        return pipeline_builder_error(b, p->line, "%s takes one value, not a list", p->name);
    if (row->kind == OPTION_FLAG)
        return is_boolean(p)
                   ? 0
                   : pipeline_builder_error(b, p->line, "%s must be true or false", p->name);
    return try_option_values(p, row, b->a, &why)
               ? pipeline_builder_error(b, p->line, "%s", why.text)
               : 0;
}

static int report_unknown_parameter(const struct pipeline_builder *b,
                                    const struct config_parameter *p)
{
    const char *names[80] = {clean_parameter};
    size_t n = 1;
    for (const struct option_row *row = calibrate_options_filter.options;
         row->name && n < COUNT(names); row++) {
        const char *name = replace_separators('_', row->name, b->a);
        if (find_calibrate_option(name, b->a))
            names[n++] = name;
    }
    return pipeline_builder_error(
        b, p->line, "%s has no parameter %s%s", b->method->name, p->name,
        spelling_suggestion_phrase(spelling_suggestion_find(p->name, n, names), b->a));
}

static int set_global_parameter_error(const struct pipeline_builder *b,
                                      const struct config_parameter *p)
{
    return pipeline_builder_error(
        b, p->line, "%s applies to the whole merge and cannot be set for one model", p->name);
}

static int check_clean(const struct pipeline_builder *b, const struct config_parameter *p,
                       bool of_model)
{
    if (of_model)
        return set_global_parameter_error(b, p);
    return p->n_texts == 1 && strcmp(p->texts[0], "swudi") == 0
               ? 0
               : pipeline_builder_error(b, p->line, "clean must be swudi");
}

int expert_merging_steps_check_parameters(const struct pipeline_builder *b,
                                          const struct config_parameters *parameters, bool of_model)
{
    for (size_t i = 0; i < parameters->n; i++) {
        const struct config_parameter *p = &parameters->items[i];
        const struct option_row *row = find_calibrate_option(p->name, b->a);
        if (strcmp(p->name, clean_parameter) == 0) {
            if (check_clean(b, p, of_model))
                return -1;
            continue;
        }
        if (!row)
            return report_unknown_parameter(b, p);
        if (of_model && !word_list_contains(model_options, COUNT(model_options), row->name))
            return set_global_parameter_error(b, p);
        bool is_task_name = of_model && strcmp(row->name, "task") == 0; /* without =MODEL */
        if (!is_task_name && check_parameter_value(b, p, row))
            return -1;
    }
    return 0;
}

/* Are there samples for all models, and are all models complete and on disk? */
static int check_samples_and_models(const struct slice_context *s, bool samples_for_all)
{
    const struct pipeline_builder *b = s->builder;
    bool on_disk = !s->base->document;
    if (s->module->has_slices || s->module->name)
        return pipeline_builder_error(b, s->slice->line, "%s merges whole models, not %s",
                                      b->method->name, s->module->name ? "modules" : "slices");
    for (size_t i = 0; i < s->n_models; i++) {
        const struct slice_model *m = &s->models[i];
        on_disk &= !m->input->document;
        if (!samples_for_all && !config_parameters_find(&m->source->parameters, "samples"))
            return pipeline_builder_error(b, m->source->line, "%s requires samples for %s",
                                          b->method->name, m->input->name);
    }
    if (on_disk)
        return 0;
    return pipeline_builder_error(
        b, s->slice->line, "%s requires models on disk, but one is the result of another document",
        b->method->name);
}

/* ---- the command ----------------------------------------------------------------------------- */

static const struct config_parameter *
find_parameter_for_option(const struct slice_context *s, const struct config_parameters *parameters,
                          const char *option)
{
    return config_parameters_find(parameters, replace_separators('_', option, s->builder->a));
}

/* A parameter of the whole merge, which the module or the document sets. */
static const struct config_parameter *find_global_parameter(const struct slice_context *s,
                                                            const char *option)
{
    const struct config_parameter *p = find_parameter_for_option(s, &s->module->parameters, option);
    return p ? p : find_parameter_for_option(s, &s->builder->config->parameters, option);
}

static void add_option_from_global_parameter(const struct slice_context *s,
                                             struct pipeline_command *to,
                                             const struct option_row *row)
{
    struct arena *a = s->builder->a;
    const struct config_parameter *p = find_global_parameter(s, row->name);
    if (!p)
        return;
    if (row->kind == OPTION_FLAG && format_option_value(p, row, 0, a))
        pipeline_add_word(to, arena_printf(a, "--%s", row->name), a);
    else if (row->kind == OPTION_STRING)
        pipeline_builder_add_option(to, row->name, join_texts_by_commas(p, a), a);
    else if (row->kind != OPTION_FLAG)
        for (size_t i = 0; i < p->n_texts; i++)
            pipeline_builder_add_option(to, row->name, format_option_value(p, row, i, a), a);
}

/* --task TASK=MODEL for the tasks that the model's parameters name, else for those that its files
 * of samples are named after. */
static void add_task_options(const struct slice_context *s, struct pipeline_command *to,
                             const struct slice_model *m)
{
    struct arena *a = s->builder->a;
    const char *model = m->input->name;
    const struct config_parameter *tasks =
        find_parameter_for_option(s, &m->source->parameters, "task");
    const struct config_parameter *files =
        find_parameter_for_option(s, &m->source->parameters, "samples");
    const struct config_parameter *p = tasks ? tasks : files;
    for (size_t i = 0; p && i < p->n_texts; i++) {
        const char *task = tasks ? p->texts[i] : samples_default_task(p->texts[i], a);
        if (tasks || strcmp(task, model) != 0)
            pipeline_builder_add_option(to, "task", arena_printf(a, "%s=%s", task, model), a);
    }
}

static void add_samples_options(const struct slice_context *s, struct pipeline_command *to,
                                const struct slice_model *m)
{
    const struct config_parameter *p =
        find_parameter_for_option(s, &m->source->parameters, "samples");
    for (size_t i = 0; p && i < p->n_texts; i++)
        pipeline_builder_add_option(to, "samples", p->texts[i], s->builder->a);
}

/* --OPTION MODEL=VALUE, after the option's values for all models. */
static void add_model_value_options(const struct slice_context *s, struct pipeline_command *to,
                                    const struct slice_model *m, const char *option)
{
    struct arena *a = s->builder->a;
    const struct config_parameter *p = find_parameter_for_option(s, &m->source->parameters, option);
    const char *model = pipeline_builder_escape_glob(m->input->name, a);
    for (size_t i = 0; p && i < p->n_texts; i++)
        pipeline_builder_add_option(to, option, arena_printf(a, "%s=%s", model, p->texts[i]), a);
}

int expert_merging_steps_add(const struct slice_context *s)
{
    struct arena *a = s->builder->a;
    if (check_samples_and_models(s, find_global_parameter(s, "samples") != NULL))
        return -1;
    const struct config_parameter *clean = find_global_parameter(s, clean_parameter);
    if (clean)
        pipeline_add_command(s->pipeline, clean->texts[0], a);
    struct pipeline_command *c = pipeline_add_command(s->pipeline, "calibrate", a);
    if (strcmp(s->builder->method->name, "expert_merging_pp") == 0)
        pipeline_add_word(c, "--plus-plus", a);
    pipeline_builder_add_option(c, "base", s->base->operand, a);
    for (size_t i = 0; i < s->n_models; i++)
        pipeline_builder_add_option(c, "expert", s->models[i].input->operand, a);
    for (size_t i = 0; i < s->n_models; i++)
        add_samples_options(s, c, &s->models[i]);
    for (size_t i = 0; i < s->n_models; i++)
        add_task_options(s, c, &s->models[i]);
    for (const struct option_row *row = calibrate_options_filter.options; row->name; row++)
        add_option_from_global_parameter(s, c, row);
    for (size_t i = 0; i < s->n_models; i++) {
        add_model_value_options(s, c, &s->models[i], "init");
        add_model_value_options(s, c, &s->models[i], "task-weight");
    }
    pipeline_add_command(s->pipeline, "combine", a);
    return 0;
}
