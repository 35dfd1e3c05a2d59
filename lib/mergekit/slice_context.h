/* One slice of a module: its models, its base, and the pipeline that merges them. A module without
 * slices has one, all of its layers.
 * A slice context borrows its builder; its list of models belongs to the builder's arena. */
#ifndef TV_SLICE_CONTEXT_H
#define TV_SLICE_CONTEXT_H

#include "pipeline_builder.h"

/* A model of a slice. */
struct slice_model {
    const struct input_model *input;
    const struct config_model_entry *source; /* NULL: a base_model that is not listed */
};

struct slice_context {
    struct pipeline_builder *builder;
    const struct config_module *module;
    const struct config_slice *slice;
    const struct input_model *base;               /* NULL: none, or it is one of `models` */
    const struct config_model_entry *base_source; /* the base's entry among the sources; NULL */
    size_t n_models;
    struct slice_model *models;
    long first_layer;    /* number of its first layer in the result; -1: not a slice of layers */
    const char *outside; /* --outside of its source; NULL: all tensors outside the layers */
    struct pipeline *pipeline;
    size_t n_source_commands; /* the first ones of the pipeline, which read the models */
};

/* Slice i of a module, with its commands to be added to `pipeline`. The slices before it have
 * `layers_before` layers. */
struct slice_context slice_context_new(struct pipeline_builder *b,
                                       const struct config_module *module, size_t i,
                                       long layers_before, struct pipeline *pipeline);
/* Lists the models, and checks base and number of models against the method. */
int slice_context_find_models(struct slice_context *s);
/* Is there just one model, so that no join is needed? */
bool slice_context_has_single_model(const struct slice_context *s);
/* Does the slice merge task vectors, not whole weights? */
bool slice_context_uses_task_vectors(const struct slice_context *s);

/* The source whose layers, and their kinds, the layers of the slice are: the base, else the first.
 */
const struct config_model_entry *slice_context_layers_source(const struct config_slice *s);

#endif
