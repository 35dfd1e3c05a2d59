/* A pipeline in the making: what those share who add to it. A build lives in the arena of its
 * recipe. */
#ifndef TV_PIPELINE_BUILDER_H
#define TV_PIPELINE_BUILDER_H

#include "merge_method.h"
#include "merge_input.h"
#include "config_to_pipeline.h"

/* The making of one document's pipeline. */
struct pipeline_builder {
    const struct merge_config_file *file;
    const struct merge_config *config;
    const struct merge_pipeline_options *options;
    const struct merge_method *method;
    const char *tool;
    struct merge_inputs inputs;
    struct merge_pipeline *merge;
    const struct pipeline_builder *outer; /* of the document that uses this one's result; NULL */
    struct arena *a;
    struct error *e;
};

/* A model in one slice; `source` is NULL for a base that is not listed. */
struct slice_model {
    const struct merge_input *input;
    const struct config_source *source;
};

/* One slice: the base, where it counts apart, and the models. */
struct slice_context {
    struct pipeline_builder *builder;
    const struct config_slice *slice;
    const struct merge_input *base;
    const struct config_source *base_source;
    size_t n_models;
    struct slice_model *models;
    long first_layer;    /* of its layers in the result; -1: the slice is the whole model */
    const char *outside; /* what it lends outside its layers, for its source; NULL: all */
    struct pipeline *pipeline;
};

/* An error of the configuration at a line; always -1. And a warning on standard error. */
int pipeline_builder_error(const struct pipeline_builder *b, size_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void pipeline_builder_warn(const struct pipeline_builder *b, size_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A model's name or a filter as a pattern that matches it alone; the first character is no sign of
 * an option or file. */
const char *pipeline_builder_escape_glob(const char *name, struct arena *a);

/* --OPTION=VALUE, unless the value is NULL; --dtype, unless it is DTYPE_NONE. */
void pipeline_builder_add_option(struct pipeline_command *to, const char *option, const char *value,
                                 struct arena *a);
void pipeline_builder_add_dtype(struct pipeline_command *to, enum dtype dtype, struct arena *a);

#endif
