#include "result_metadata.h"

#include "model_source.h"

#define DOCUMENTS_DEEP 16 /* results of documents that use results */

const char *result_metadata_model(const struct pipeline_builder *b, const struct merge_config *c)
{
    const char *model = c->base;
    for (size_t depth = 0; depth < DOCUMENTS_DEEP; depth++) {
        if (!model)
            model = c->slices[0].base ? c->slices[0].base : c->slices[0].sources[0].model;
        struct merge_inputs all;
        struct error ignored;
        merge_input_collect(&all, b->file, c, b->a, &ignored);
        const struct merge_input *p = merge_input_find(&all, model, b->a);
        if (!p->document)
            return p->plain_operand;
        c = p->document;
        model = c->base;
    }
    return NULL; /* a circle, which is refused when it is walked */
}

/* The dtype of most elements of a model on disk; DTYPE_NONE if it cannot be read. */
static enum dtype stored_dtype(const struct pipeline_builder *b, const char *path)
{
    struct error ignored;
    uint64_t count[DTYPE_COUNT] = {0};
    enum dtype most = DTYPE_NONE;
    struct model_source *in = path ? model_source_open(path, NULL, b->tool, &ignored) : NULL;
    for (size_t i = 0; in && i < model_source_tensor_count(in); i++)
        count[model_source_tensor(in, i)->dtype] += model_source_tensor(in, i)->elements;
    model_source_close(in);
    for (int d = 0; d < DTYPE_COUNT; d++)
        if (dtype_is_float((enum dtype)d) && count[d] > count[most])
            most = (enum dtype)d;
    return most;
}

enum dtype result_metadata_configured_dtype(const struct merge_config *c)
{
    return c->out_dtype != DTYPE_NONE ? c->out_dtype : c->dtype;
}

enum dtype result_metadata_dtype(const struct pipeline_builder *b, const struct merge_config *c)
{
    return result_metadata_configured_dtype(c) != DTYPE_NONE
               ? result_metadata_configured_dtype(c)
               : stored_dtype(b, result_metadata_model(b, c));
}
