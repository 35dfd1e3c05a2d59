#include "result_config_and_dtype.h"

#include "model_source.h"

#define MAX_NESTED_DOCUMENTS 16

static const char *find_base_or_first_model(const struct merge_config *c)
{
    const struct config_slice *slice = &c->modules[0].slices[0];
    return slice->base ? slice->base : slice->sources[0].model;
}

const char *result_config_and_dtype_find_model(const struct pipeline_builder *b,
                                               const struct merge_config *c)
{
    for (size_t depth = 0; depth < MAX_NESTED_DOCUMENTS; depth++) {
        struct input_models all;
        struct error ignored; /* document_to_pipeline_start reports it */
        input_models_list_and_name(&all, b->file, c, b->options->resolve_cache, b->a, &ignored);
        const struct input_model *input =
            input_models_find(&all, c->base ? c->base : find_base_or_first_model(c), b->a);
        if (!input->document)
            return input->plain_operand;
        c = input->document;
    }
    return NULL;
}

/* The dtype of most elements of a model on disk; DTYPE_NONE if it cannot be read. */
static enum dtype most_common_dtype(const struct pipeline_builder *b, const char *path)
{
    struct error ignored;
    uint64_t elements[DTYPE_COUNT] = {0};
    enum dtype most = DTYPE_NONE;
    struct model_source *model = path ? model_source_open(path, NULL, b->tool, &ignored) : NULL;
    for (size_t i = 0; model && i < model_source_tensor_count(model); i++) {
        const struct ckpt_tensor *t = model_source_tensor(model, i);
        elements[t->file_dtype] += t->elements;
    }
    model_source_close(model);
    for (int d = 0; d < DTYPE_COUNT; d++)
        if (dtype_is_float((enum dtype)d) && elements[d] > elements[most])
            most = (enum dtype)d;
    return most;
}

static enum dtype configured_dtype(const struct merge_config *c)
{
    return c->out_dtype != DTYPE_NONE ? c->out_dtype : c->dtype;
}

enum dtype result_config_and_dtype_find_dtype(const struct pipeline_builder *b,
                                              const struct merge_config *c)
{
    enum dtype configured = configured_dtype(c);
    return configured != DTYPE_NONE
               ? configured
               : most_common_dtype(b, result_config_and_dtype_find_model(b, c));
}
