/* A mergekit configuration file, read from YAML into structs: one merge_config for each document.
 * Everything belongs to the arena that is passed to merge_config_read. Merge methods and the names
 * of their parameters are checked later (document_to_pipeline.h). */
#ifndef TV_MERGE_CONFIG_H
#define TV_MERGE_CONFIG_H

#include "config_slices.h"
#include "config_tokenizer.h"
#include "dtype.h"

/* The whole model, or one of the modules of a model that has several (model_modules.h). */
struct config_module {
    const char *name; /* NULL: the whole model */
    size_t line;
    bool has_slices;
    size_t n_slices; /* 1 without slices */
    struct config_slice *slices;
    struct config_parameters parameters;
};

/* One document. Missing keys are NULL, 0 or DTYPE_NONE. */
struct merge_config {
    size_t line;
    const char *name, *method, *base;
    struct config_tokenizer tokenizer;
    const char *chat_template;
    size_t method_line, base_line, chat_line;
    enum dtype dtype, out_dtype;
    size_t n_modules; /* 1 with models, slices or modules.default */
    struct config_module *modules;
    struct config_parameters parameters;
};

struct merge_config_file {
    const char *path; /* for messages */
    bool is_standard_input;
    size_t n_documents;
    struct merge_config *documents;
};

/* Reads the file `path`, or standard input if it is "-". Unknown keys are ignored; warnings are
 * printed to standard error, prefixed with the command's name `tool`. */
int merge_config_read(struct merge_config_file *f, const char *path, const char *tool,
                      struct arena *a, struct error *e);

/* Is it a key of a document? */
bool merge_config_is_document_key(const char *name);

#endif
