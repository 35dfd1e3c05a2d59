#include "slice_context.h"

#include <string.h>

struct slice_context slice_context_new(struct pipeline_builder *b,
                                       const struct config_module *module, size_t i,
                                       long layers_before, struct pipeline *pipeline)
{
    struct slice_context s = {.builder = b,
                              .module = module,
                              .slice = &module->slices[i],
                              .pipeline = pipeline,
                              .first_layer = -1};
    if (!module->has_slices)
        return s;
    s.first_layer = layers_before;
    if (module->n_slices > 1)
        s.outside = i == 0 ? "first" : i + 1 < module->n_slices ? "none" : "last";
    return s;
}

/* ---- models ---------------------------------------------------------------------------------- */

static void add_model(struct slice_context *s, const struct input_model *input,
                      const struct config_model_entry *source)
{
    s->models[s->n_models++] = (struct slice_model){input, source};
}

/* `base` is the document's or the slice's base_model; NULL. */
static int check_base_is_allowed(const struct slice_context *s, const struct input_model *base)
{
    const struct pipeline_builder *b = s->builder;
    if (b->method->base == BASE_REQUIRED && !base)
        return pipeline_builder_error(b, b->config->line, "%s requires a base_model",
                                      b->method->name);
    if (s->base && s->module->has_slices && !s->base_source)
        return pipeline_builder_error(
            b, s->slice->line, "the base %s must be among the sources of every slice", base->name);
    return 0;
}

static int check_number_of_models(const struct slice_context *s)
{
    const struct merge_method *m = s->builder->method;
    if (s->n_models >= m->min_models && s->n_models <= m->max_models)
        return 0;
    bool too_few = s->n_models < m->min_models;
    size_t limit = too_few ? m->min_models : m->max_models;
    const char *bound = m->min_models == m->max_models ? "exactly"
                        : too_few                      ? "at least"
                                                       : "at most";
    return pipeline_builder_error(
        s->builder, s->slice->line, "%s takes %s %zu model%s%s, found %zu", m->name, bound, limit,
        limit == 1 ? "" : "s", s->base ? " besides the base" : "", s->n_models);
}

int slice_context_find_models(struct slice_context *s)
{
    struct pipeline_builder *b = s->builder;
    enum method_base role = b->method->base;
    const char *path = input_models_base_of_slice(b->config, s->slice);
    const struct input_model *base = path ? input_models_find(&b->inputs, path, b->a) : NULL;
    bool base_is_listed = false;
    s->base = role == BASE_OPTIONAL || role == BASE_REQUIRED ? base : NULL;
    s->models = arena_alloc(b->a, s->slice->n_sources + 1, sizeof *s->models);
    for (size_t i = 0; i < s->slice->n_sources; i++) {
        const struct config_model_entry *source = &s->slice->sources[i];
        if (source->is_base)
            s->base_source = source;
        if (!source->is_base || !s->base)
            add_model(s, input_models_find_source(&b->inputs, source, b->a), source);
        base_is_listed |= source->is_base;
    }
    if (check_base_is_allowed(s, base))
        return -1;
    if (role == BASE_IS_A_MODEL && base && !base_is_listed && !s->module->has_slices)
        add_model(s, base, NULL);
    return check_number_of_models(s);
}

bool slice_context_has_single_model(const struct slice_context *s)
{
    bool one = s->n_models == 1 && strcmp(s->builder->method->name, "multislerp") == 0;
    return (s->base && s->n_models == 0) || one;
}

bool slice_context_uses_task_vectors(const struct slice_context *s)
{
    return s->builder->method->uses_task_vectors && s->base && !slice_context_has_single_model(s);
}

const struct config_model_entry *slice_context_layers_source(const struct config_slice *s)
{
    for (size_t i = 0; i < s->n_sources; i++)
        if (s->sources[i].is_base)
            return &s->sources[i];
    return &s->sources[0];
}
