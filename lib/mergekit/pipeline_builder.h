/* The state of translating one document of a configuration to a pipeline, and helpers that add
 * options to commands.
 * A builder borrows its configuration; what it makes belongs to its arena. */
#ifndef TV_PIPELINE_BUILDER_H
#define TV_PIPELINE_BUILDER_H

#include "input_models.h"
#include "merge_method.h"
#include "model_modules.h"
#include "translated_config.h"

struct pipeline_builder {
    const struct merge_config_file *file;
    const struct merge_config *config; /* the document */
    const struct translation_options *options;
    const struct merge_method *method;
    const char *tool; /* the command, for warnings */
    struct input_models inputs;
    const struct model_modules *modules; /* of the models; NULL: the document does not use them */
    const char *vocabulary;          /* --vocabulary of filters; NULL: rows stay where they are */
    struct translated_config *merge; /* what is being made */
    const struct pipeline_builder *outer; /* of the document that uses this one's result; NULL */
    struct arena *a;
    struct error *e;
};

/* Sets an error with the file and the line; always -1. */
int pipeline_builder_error(const struct pipeline_builder *b, size_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Prints a warning with the file and the line on standard error. */
void pipeline_builder_warn(const struct pipeline_builder *b, size_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A glob that matches `name` literally, in a form that no filter parses as an option or a file of
 * rules. */
const char *pipeline_builder_escape_glob(const char *name, struct arena *a);

/* Adds --OPTION=VALUE, unless `value` is NULL. */
void pipeline_builder_add_option(struct pipeline_command *to, const char *option, const char *value,
                                 struct arena *a);
/* Adds --dtype, unless `dtype` is DTYPE_NONE. */
void pipeline_builder_add_dtype(struct pipeline_command *to, enum dtype dtype, struct arena *a);

#endif
