#include "parameter_rules.h"

#include <string.h>

/* ---- values ---------------------------------------------------------------------------------- */

/* Looks a parameter up for a model of the slice, or globally if `m` is NULL. */
static int find_parameter_value(const struct slice_context *s, const char *name,
                                const struct slice_model *m, struct parameter_value *v)
{
    struct pipeline_builder *b = s->builder;
    struct parameter_levels levels = {0};
    if (m && m->source)
        levels.parameters[levels.n_levels++] = &m->source->parameters;
    levels.parameters[levels.n_levels++] = &s->slice->parameters;
    levels.parameters[levels.n_levels++] = &s->module->parameters;
    levels.parameters[levels.n_levels++] = &b->config->parameters;
    if (parameter_lookup_find(v, merge_method_find_parameter(b->method, name), &levels,
                              b->file->path, b->a, b->e))
        return -1;
    if (v->n_conditions > 0)
        return 0;
    return pipeline_builder_error(b, m && m->source ? m->source->line : b->config->line,
                                  "%s requires %s%s%s", b->method->name, name, m ? " for " : "",
                                  m ? m->input->name : "");
}

static int find_constant_parameter(const struct slice_context *s, const char *name,
                                   struct parameter_value *v, double *x)
{
    if (find_parameter_value(s, name, NULL, v))
        return -1;
    if (parameter_lookup_constant(v, x) == 0)
        return 0;
    return pipeline_builder_error(s->builder, v->line,
                                  "%s must have the same value for all tensors", name);
}

int parameter_rules_find_number(const struct slice_context *s, const char *name, double *x)
{
    struct parameter_value v;
    return find_constant_parameter(s, name, &v, x);
}

/* ---- rules ----------------------------------------------------------------------------------- */

/* "0.5" or "[0.2,0.8]"; with the words of a flag, "all" or "[none,all]" */
static const char *format_values(const struct conditional_value *c, const char *const *words,
                                 struct arena *a)
{
    char number[32];
    const char *text = c->n_values > 1 ? "[" : "";
    for (size_t i = 0; i < c->n_values; i++)
        text = arena_printf(a, "%s%s%s", text, i ? "," : "",
                            words ? words[c->values[i] != 0] : number_format(c->values[i], number));
    return c->n_values > 1 ? arena_printf(a, "%s]", text) : text;
}

/* A condition as a rule: a value, with the model and a glob in front; `model` is NULL for all
 * models, `words` for numbers. */
static const char *format_rule(const struct conditional_value *c, const char *model,
                               const char *const *words, struct arena *a)
{
    const char *value = format_values(c, words, a);
    const char *glob = c->filter ? pipeline_builder_escape_glob(c->filter, a) : NULL;
    const char *name = model ? pipeline_builder_escape_glob(model, a) : "";
    if (glob && strncmp(glob, "\\-", 2) == 0)
        glob++; /* after the '/' it cannot be an option */
    if (glob)
        return arena_printf(a, "%s/*%s*=%s", name, glob, value);
    return model ? arena_printf(a, "%s=%s", name, value) : value;
}

/* Adds a value's conditions in reverse: in a configuration the first match applies, of rules the
 * last. */
static void add_rules_of_value(struct pipeline_command *to, const char *option,
                               const struct parameter_value *v, const char *model, struct arena *a)
{
    for (size_t i = v->n_conditions; i-- > 0;) {
        if (option)
            pipeline_add_word(to, option, a);
        pipeline_add_word(to, format_rule(&v->conditions[i], model, NULL, a), a);
    }
}

static bool is_neutral_value(const struct parameter_value *v, double neutral)
{
    double x;
    return parameter_lookup_constant(v, &x) == 0 && x == neutral;
}

static struct pipeline_command *find_or_add_target_command(const struct slice_context *s,
                                                           struct rule_target to)
{
    struct pipeline *p = s->pipeline;
    return to.filter ? pipeline_add_command(p, to.filter, s->builder->a) : &p->commands[p->n - 1];
}

/* Registers that a model's value may not cover every tensor. */
static void register_coverage_check(const struct slice_context *s, const struct parameter_value *v,
                                    const char *name, const char *model)
{
    struct arena *a = s->builder->a;
    struct coverage_check c = {.pipeline = s->pipeline,
                               .n_source_commands = s->n_source_commands,
                               .model = model,
                               .parameter = name,
                               .line = v->line,
                               .n_filters = v->n_conditions};
    c.filters = arena_alloc(a, c.n_filters, sizeof *c.filters);
    for (size_t i = 0; i < c.n_filters; i++)
        c.filters[i] = v->conditions[i].filter;
    translated_config_add_coverage_check(s->builder->merge, &c, a);
}

int parameter_rules_add_per_model(const struct slice_context *s, const char *name,
                                  struct rule_target to, bool *added)
{
    struct arena *a = s->builder->a;
    struct parameter_value *values = arena_alloc(a, s->n_models, sizeof *values);
    bool equal = true, all_neutral = true;
    for (size_t i = 0; i < s->n_models; i++) {
        if (find_parameter_value(s, name, &s->models[i], &values[i]))
            return -1;
        if (!values[i].complete)
            register_coverage_check(s, &values[i], name, s->models[i].input->name);
        equal &= parameter_lookup_values_equal(&values[0], &values[i]);
        all_neutral &= is_neutral_value(&values[i], to.neutral);
    }
    if (added)
        *added = !all_neutral;
    if (all_neutral)
        return 0;
    struct pipeline_command *command = find_or_add_target_command(s, to);
    for (size_t i = 0; i < (equal ? 1 : s->n_models); i++)
        add_rules_of_value(command, to.option, &values[i], equal ? NULL : s->models[i].input->name,
                           a);
    return 0;
}

int parameter_rules_add_global(const struct slice_context *s, const char *name,
                               struct rule_target to)
{
    struct parameter_value v;
    if (find_parameter_value(s, name, NULL, &v))
        return -1;
    if (!is_neutral_value(&v, to.neutral))
        add_rules_of_value(find_or_add_target_command(s, to), to.option, &v, NULL, s->builder->a);
    return 0;
}

/* ---- flags ----------------------------------------------------------------------------------- */

int parameter_rules_find_flag(const struct slice_context *s, const char *name, const char *if_false,
                              const char *if_true, struct flag_choice *flag)
{
    flag->words[0] = if_false;
    flag->words[1] = if_true;
    return find_parameter_value(s, name, NULL, &flag->value);
}

const char *parameter_rules_constant_flag(const struct flag_choice *flag)
{
    double x;
    return parameter_lookup_constant(&flag->value, &x) == 0 ? flag->words[x != 0] : NULL;
}

bool parameter_rules_flag_may_be(const struct flag_choice *flag, bool value)
{
    for (size_t i = 0; i < flag->value.n_conditions; i++)
        for (size_t j = 0; j < flag->value.conditions[i].n_values; j++)
            if ((flag->value.conditions[i].values[j] != 0) == value)
                return true;
    return false;
}

void parameter_rules_add_flag(const struct slice_context *s, const struct flag_choice *flag,
                              const char *option, const char *neutral)
{
    struct arena *a = s->builder->a;
    struct pipeline_command *to = &s->pipeline->commands[s->pipeline->n - 1];
    const char *constant = parameter_rules_constant_flag(flag);
    bool glued = option[strlen(option) - 1] == '=';
    if (constant && strcmp(constant, neutral) == 0)
        return;
    for (size_t i = constant ? 1 : flag->value.n_conditions; i-- > 0;) {
        const struct conditional_value *c = &flag->value.conditions[i];
        const char *rule = constant ? constant : format_rule(c, NULL, flag->words, a);
        if (!glued)
            pipeline_add_word(to, option, a);
        pipeline_add_word(to, glued ? arena_printf(a, "%s%s", option, rule) : rule, a);
    }
}
