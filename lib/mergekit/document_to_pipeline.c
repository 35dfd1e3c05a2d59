#include "document_to_pipeline.h"

#include "config_vocabulary.h"
#include "expert_merging_steps.h"
#include "method_steps.h"
#include "result_config_and_dtype.h"
#include "spelling_suggestion.h"

#include <string.h>

/* ---- names of methods and parameters --------------------------------------------------------- */

static void warn_of_unknown_parameter(const struct pipeline_builder *b,
                                      const struct config_parameter *set)
{
    const char *name = set->name, *advice;
    if (strcmp(name, "random_seed") == 0)
        advice = " (use the option --random-seed)";
    else if (merge_config_is_document_key(name))
        advice = " (it belongs beside parameters, not under them)";
    else
        advice = spelling_suggestion_phrase(merge_method_suggest_parameter(name), b->a);
    pipeline_builder_warn(b, set->line, "unknown parameter %s is ignored%s", name, advice);
}

/* mergekit keeps everything, silently; 20 is probably meant to be 20 %. */
static void warn_if_capped(const struct pipeline_builder *b, const struct config_parameter *set,
                           const struct method_parameter *p)
{
    for (size_t i = 0; p->capped && i < set->n_conditions; i++) {
        const struct conditional_value *c = &set->conditions[i];
        char found[32], high[32];
        if (c->number_error || c->n_values != 1 || c->values[0] <= p->range.high)
            continue;
        pipeline_builder_warn(b, set->line, "%s is %s, which is the same as %s", p->name,
                              number_format(c->values[0], found),
                              number_format(p->range.high, high));
        return;
    }
}

static int check_parameter_is_accepted(const struct pipeline_builder *b,
                                       const struct config_parameter *set, bool of_model)
{
    const char *name = set->name;
    const struct method_parameter *p = merge_method_find_parameter(b->method, name);
    if (!merge_method_is_known_parameter(name) && !expert_merging_steps_is_parameter(name))
        warn_of_unknown_parameter(b, set);
    else if (!p)
        pipeline_builder_warn(b, set->line, "%s is not a parameter of %s and is ignored", name,
                              b->method->name);
    else if (p->kind == FILE_OF_MODEL)
        return !of_model || set->n_texts != 1
                   ? pipeline_builder_error(b, set->line, "%s must be one file for each model",
                                            name)
                   : 0;
    else if (of_model && p->kind == GLOBAL)
        pipeline_builder_warn(b, set->line,
                              "%s is ignored here: it applies to the whole merge, not to one model",
                              name);
    else
        warn_if_capped(b, set, p);
    return 0;
}

/* The parameters of one model (`of_model`), or of more. */
static int check_all_parameters(const struct pipeline_builder *b,
                                const struct config_parameters *parameters, bool of_model)
{
    if (b->method->weights == WEIGHTS_LEARNED)
        return expert_merging_steps_check_parameters(b, parameters, of_model);
    for (size_t i = 0; i < parameters->n; i++)
        if (check_parameter_is_accepted(b, &parameters->items[i], of_model))
            return -1;
    return 0;
}

static int check_slice_parameters(const struct pipeline_builder *b, const struct config_slice *s)
{
    if (check_all_parameters(b, &s->parameters, false))
        return -1;
    for (size_t i = 0; i < s->n_sources; i++)
        if (check_all_parameters(b, &s->sources[i].parameters, true))
            return -1;
    return 0;
}

static int check_module_parameters(const struct pipeline_builder *b, const struct config_module *m)
{
    if (check_all_parameters(b, &m->parameters, false))
        return -1;
    for (size_t i = 0; i < m->n_slices; i++)
        if (check_slice_parameters(b, &m->slices[i]))
            return -1;
    return 0;
}

static int check_method_and_parameter_names(struct pipeline_builder *b)
{
    const struct merge_config *c = b->config;
    b->method = merge_method_find(c->method);
    if (!b->method)
        return pipeline_builder_error(
            b, c->method_line, "unknown merge_method %s%s", c->method,
            spelling_suggestion_phrase(merge_method_suggest(c->method), b->a));
    if (check_all_parameters(b, &c->parameters, false))
        return -1;
    for (size_t i = 0; i < c->n_modules; i++)
        if (check_module_parameters(b, &c->modules[i]))
            return -1;
    return 0;
}

/* ---- modules --------------------------------------------------------------------------------- */

static bool is_configured(const struct merge_config *c, const char *module)
{
    for (size_t i = 0; i < c->n_modules; i++)
        if (strcmp(c->modules[i].name, module) == 0)
            return true;
    return false;
}

/* As in mergekit, the result has no tensors of a module that is not configured. */
static int check_configured_modules(const struct pipeline_builder *b)
{
    const struct merge_config *c = b->config;
    for (size_t i = 0; i < c->n_modules; i++) {
        const struct config_module *m = &c->modules[i];
        if (!model_modules_find_module(b->modules, m->name))
            return pipeline_builder_error(b, m->line, "unknown module %.60s; expected %s", m->name,
                                          model_modules_list_names(b->modules, b->a));
        if (m->has_slices && b->modules->one_count)
            return pipeline_builder_error(b, m->line,
                                          "slices of the module %.60s are not supported", m->name);
    }
    for (const struct model_module *m = b->modules->modules; m->name; m++)
        if (!is_configured(c, m->name))
            pipeline_builder_warn(b, c->modules[0].line,
                                  "the result has no %s, which is not among the modules", m->name);
    return 0;
}

/* Finds out from the base or first model what modules there are. */
static int find_modules(struct pipeline_builder *b)
{
    const struct config_module *first = &b->config->modules[0];
    const char *type, *model;
    if (!first->name)
        return 0;
    if (!(model = result_config_and_dtype_find_model(b, b->config)))
        return pipeline_builder_error(b, b->config->line,
                                      "the documents refer to each other in a cycle");
    if (model_modules_read_type(model, b->tool, &type, b->a, b->e))
        return -1;
    b->modules = type ? model_modules_find(type) : NULL;
    return b->modules ? check_configured_modules(b)
                      : pipeline_builder_error(
                            b, first->line,
                            "the module %.60s is unknown: %.200s has only the module default",
                            first->name, model);
}

/* ---- the start of a document ----------------------------------------------------------------- */

/* Adds the document's models on disk to those of the merge. */
static void add_models_to_translated_config(struct pipeline_builder *b)
{
    struct translated_config *merge = b->merge;
    for (size_t i = 0; i < b->inputs.n_inputs; i++) {
        const struct input_model *input = &b->inputs.items[i];
        if (input->document || name_index_find(&merge->model_index, input->plain_operand) >= 0)
            continue;
        merge->models = arena_grow(b->a, merge->models, merge->n_models, &merge->model_capacity,
                                   sizeof *merge->models);
        name_index_add(&merge->model_index, input->plain_operand, merge->n_models, b->a);
        merge->models[merge->n_models++] = input->plain_operand;
    }
}

int document_to_pipeline_start(struct pipeline_builder *b, const struct merge_config *c)
{
    b->config = c;
    if (check_method_and_parameter_names(b) ||
        input_models_list_and_name(&b->inputs, b->file, c, b->options->resolve_cache, b->a, b->e))
        return -1;
    add_models_to_translated_config(b);
    return find_modules(b) || config_vocabulary_set(b) ? -1 : 0;
}

/* ---- results of other documents -------------------------------------------------------------- */

static int add_commands_of_all_modules(struct pipeline_builder *b, struct pipeline *pipeline);

static struct document_result *find_translated_document(const struct translated_config *m,
                                                        const struct merge_config *c)
{
    for (size_t i = 0; i < m->n_results; i++)
        if (m->results[i]->config == c)
            return m->results[i];
    return NULL;
}

/* Translates the document that `input` is the result of; NULL on error. */
static struct document_result *translate_other_document(const struct pipeline_builder *outer,
                                                        const struct input_model *input)
{
    struct pipeline_builder b = *outer;
    struct document_result *result = arena_alloc(b.a, 1, sizeof *result);
    b.outer = outer;
    *result =
        (struct document_result){.config = input->document,
                                 .name = input->name,
                                 .dtype = result_config_and_dtype_find_dtype(&b, input->document)};
    if (document_to_pipeline_start(&b, input->document) ||
        config_vocabulary_check_inner_document(&b) ||
        add_commands_of_all_modules(&b, &result->pipeline))
        return NULL;
    translated_config_add_result(b.merge, result, b.a);
    return result;
}

/* The result's pipeline, with its output rounded as in a checkpoint. */
static struct pipeline *make_rounded_pipeline(struct document_result *result, struct arena *a)
{
    if (result->rounded_pipeline.n > 0)
        return &result->rounded_pipeline;
    struct pipeline_command *unpack = pipeline_add_command(&result->rounded_pipeline, "unpack", a);
    pipeline_builder_add_dtype(unpack, result->dtype, a);
    struct pipeline_word *w = pipeline_add_operand(unpack, arena_printf(a, "%s=", result->name), a);
    w->substitution = &result->pipeline;
    return &result->rounded_pipeline;
}

static int check_no_document_cycle(const struct pipeline_builder *outer,
                                   const struct merge_config *c)
{
    for (const struct pipeline_builder *b = outer; b; b = b->outer)
        if (b->config == c)
            return pipeline_builder_error(outer, c->line,
                                          "the documents refer to each other in a cycle");
    return 0;
}

/* A pipeline that outputs the weights of another document's result, as they would be in its
 * checkpoint; NULL on error. They are not rounded here if they need no rounding or the document
 * that uses them rounds its inputs in the same way. */
static struct pipeline *find_or_build_result_pipeline(const struct pipeline_builder *outer,
                                                      const struct input_model *input)
{
    if (check_no_document_cycle(outer, input->document))
        return NULL;
    struct document_result *result = find_translated_document(outer->merge, input->document);
    if (!result && !(result = translate_other_document(outer, input)))
        return NULL;
    result->uses++;
    bool rounded = result->dtype != DTYPE_NONE && result->dtype != DTYPE_F32 &&
                   result->dtype != outer->config->dtype;
    return rounded ? make_rounded_pipeline(result, outer->a) : &result->pipeline;
}

/* ---- the commands of a slice ----------------------------------------------------------------- */

/* Adds a model as an operand: a path, or <( PIPELINE ) for the result of a document; with the
 * source's range of layers, if it has one. */
static int add_model_operand(struct pipeline_builder *b, struct pipeline_command *to,
                             const struct input_model *input,
                             const struct config_model_entry *source)
{
    const char *range = source && source->has_range
                            ? arena_printf(b->a, "[%ld:%ld]", source->from, source->to)
                            : "";
    struct pipeline_word *w = pipeline_add_operand(to, input->operand, b->a);
    if (!input->document) {
        w->text = arena_printf(b->a, "%s%s", input->operand, range);
        return 0;
    }
    w->suffix = range;
    w->substitution = find_or_build_result_pipeline(b, input);
    return w->substitution ? 0 : -1;
}

/* The slice's module among those of the models; NULL: the whole model. */
static const struct model_module *find_module(const struct slice_context *s)
{
    return s->module->name ? model_modules_find_module(s->builder->modules, s->module->name) : NULL;
}

/* Only the first and the last of several slices have embeddings or an LM head, and no module that
 * is given by globs. */
static void add_vocabulary_option(const struct slice_context *s, struct pipeline_command *to)
{
    const struct model_module *module = find_module(s);
    bool has_vocabulary_tensors =
        (!s->outside || strcmp(s->outside, "none") != 0) && !(module && module->globs[0]);
    pipeline_builder_add_option(
        to, "vocabulary", has_vocabulary_tensors ? s->builder->vocabulary : NULL, s->builder->a);
}

/* --stack: the layers of a module; NULL without slices, or for the text model's. */
static int find_stack_of_module(const struct slice_context *s, const char **stack)
{
    struct pipeline_builder *b = s->builder;
    const struct model_module *module = find_module(s);
    *stack = NULL;
    if (!module || !module->globs[0] || s->first_layer < 0)
        return 0;
    const char *model = result_config_and_dtype_find_model(b, b->config);
    if (model_modules_find_stack(b->modules, module, model, b->tool, stack, b->a, b->e))
        return -1;
    return *stack ? 0
                  : pipeline_builder_error(b, s->slice->line, "the module %s has no layers",
                                           module->name);
}

static void add_globs(const struct model_module *m, struct pipeline_command *pick, struct arena *a)
{
    for (size_t i = 0; i < MODEL_MODULE_MAX_GLOBS && m->globs[i]; i++)
        pipeline_add_word(pick, arena_printf(a, "/%s", m->globs[i]), a);
}

/* Selects the tensors of the module. */
static void add_pick_of_module(const struct slice_context *s)
{
    struct arena *a = s->builder->a;
    const struct model_module *module = find_module(s);
    if (!module)
        return;
    struct pipeline_command *pick = pipeline_add_command(s->pipeline, "pick", a);
    if (module->globs[0]) {
        add_globs(module, pick, a);
        return;
    }
    pipeline_add_word(pick, "--drop", a);
    for (const struct model_module *m = s->builder->modules->modules; m->name; m++)
        add_globs(m, pick, a);
}

static int add_source_options(const struct slice_context *s, struct pipeline_command *source)
{
    const char *stack;
    if (find_stack_of_module(s, &stack))
        return -1;
    const struct pipeline_builder *b = s->builder;
    pipeline_builder_add_dtype(source, b->config->dtype, b->a);
    pipeline_builder_add_option(source, "missing", b->options->missing, b->a);
    pipeline_builder_add_option(source, "embed", b->options->embed, b->a);
    pipeline_builder_add_option(source, "mismatch", b->options->mismatch, b->a);
    if (s->first_layer >= 0)
        pipeline_builder_add_option(source, "first-layer",
                                    arena_printf(b->a, "%ld", s->first_layer), b->a);
    pipeline_builder_add_option(source, "outside", s->outside, b->a);
    pipeline_builder_add_option(source, "stack", stack, b->a);
    add_vocabulary_option(s, source);
    return 0;
}

static int add_model_operands(const struct slice_context *s, struct pipeline_command *source)
{
    for (size_t i = 0; i < s->n_models; i++)
        if (add_model_operand(s->builder, source, s->models[i].input, s->models[i].source))
            return -1;
    return 0;
}

/* A single model, without a join. The base is read too, after the model, because it decides whether
 * the result has its own LM head; pick then drops it. */
static int add_single_model_with_pick(const struct slice_context *s,
                                      struct pipeline_command *source)
{
    struct pipeline_builder *b = s->builder;
    if (add_model_operands(s, source) || add_model_operand(b, source, s->base, s->base_source))
        return -1;
    pipeline_add_word(pipeline_add_command(s->pipeline, "pick", b->a),
                      pipeline_builder_escape_glob(s->models[0].input->name, b->a), b->a);
    return 0;
}

/* unpack or tv-extract. */
static int add_source_command(const struct slice_context *s)
{
    struct pipeline_builder *b = s->builder;
    const char *filter = slice_context_uses_task_vectors(s) ? "tv-extract" : "unpack";
    struct pipeline_command *source = pipeline_add_command(s->pipeline, filter, b->a);
    if (add_source_options(s, source))
        return -1;
    if (s->base && s->n_models == 1 && slice_context_has_single_model(s))
        return add_single_model_with_pick(s, source);
    if (s->base && add_model_operand(b, source, s->base, s->base_source))
        return -1;
    return add_model_operands(s, source);
}

/* The commands from the models to the merged weights or the merged task vector. */
static int add_commands_of_slice(struct slice_context *s)
{
    if (slice_context_find_models(s) || add_source_command(s))
        return -1;
    add_pick_of_module(s);
    s->n_source_commands = s->pipeline->n;
    return slice_context_has_single_model(s) ? 0 : method_steps_add(s);
}

/* Is a model BASE+ADAPTER? */
static bool has_adapter(const struct slice_context *s)
{
    for (size_t i = 0; i < s->n_models; i++)
        if (strchr(s->models[i].input->path, '+'))
            return true;
    return false;
}

/* Turns a merged task vector into weights, which need every tensor. */
static int add_add_base_command(const struct slice_context *s)
{
    if (!slice_context_uses_task_vectors(s))
        return 0;
    if (has_adapter(s))
        pipeline_add_word(&s->pipeline->commands[0], "--unchanged", s->builder->a);
    struct pipeline_command *c = pipeline_add_command(s->pipeline, "add-base", s->builder->a);
    pipeline_builder_add_dtype(c, s->builder->config->out_dtype, s->builder->a);
    add_vocabulary_option(s, c);
    return add_model_operand(s->builder, c, s->base, s->base_source);
}

/* ---- the commands of modules and documents --------------------------------------------------- */

/* An empty pipeline whose output is an operand of `stack`. */
static struct pipeline *add_stack_operand(const struct pipeline_builder *b,
                                          struct pipeline_command *stack)
{
    struct pipeline_word *w = pipeline_add_empty_word(stack, b->a);
    w->text = "";
    return w->substitution = arena_alloc(b->a, 1, sizeof *w->substitution);
}

/* The commands from the models to the merged weights of slice i. */
static int add_commands_to_weights(struct pipeline_builder *b, const struct config_module *m,
                                   size_t i, long layers_before, struct pipeline *pipeline)
{
    struct slice_context s = slice_context_new(b, m, i, layers_before, pipeline);
    return add_commands_of_slice(&s) || add_add_base_command(&s) ? -1 : 0;
}

static int add_commands_of_module(struct pipeline_builder *b, const struct config_module *m,
                                  struct pipeline *pipeline)
{
    if (m->n_slices == 1)
        return add_commands_to_weights(b, m, 0, 0, pipeline);
    struct pipeline_command *stack = pipeline_add_command(pipeline, "stack", b->a);
    long layers = 0;
    for (size_t i = 0; i < m->n_slices; i++) {
        const struct config_model_entry *first = &m->slices[i].sources[0];
        if (add_commands_to_weights(b, m, i, layers, add_stack_operand(b, stack)))
            return -1;
        layers += first->to - first->from;
    }
    return 0;
}

/* The pipeline outputs weights. */
static int add_commands_of_all_modules(struct pipeline_builder *b, struct pipeline *pipeline)
{
    const struct merge_config *c = b->config;
    if (c->n_modules == 1)
        return add_commands_of_module(b, &c->modules[0], pipeline);
    struct pipeline_command *stack = pipeline_add_command(pipeline, "stack", b->a);
    pipeline_add_word(stack, "--disjoint", b->a);
    for (size_t i = 0; i < c->n_modules; i++)
        if (add_commands_of_module(b, &c->modules[i], add_stack_operand(b, stack)))
            return -1;
    return 0;
}

int document_to_pipeline_add_commands(struct pipeline_builder *b, struct pipeline *pipeline,
                                      const struct input_model **base)
{
    const struct config_module *m = &b->config->modules[0];
    *base = NULL;
    if (m->name || m->has_slices)
        return add_commands_of_all_modules(b, pipeline);
    struct slice_context s = slice_context_new(b, m, 0, 0, pipeline);
    if (add_commands_of_slice(&s))
        return -1;
    if (s.base && s.base->document)
        return add_add_base_command(&s);
    *base = slice_context_uses_task_vectors(&s) ? s.base : NULL;
    return 0;
}
