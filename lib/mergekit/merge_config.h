/* mergekit's merge configurations, read from YAML (1.1, as PyYAML reads it) into plain structs.
 * Knows the shape of a configuration, not what its methods and parameters mean. Everything lives in
 * the arena that the file was read into. */
#ifndef TV_MERGE_CONFIG_H
#define TV_MERGE_CONFIG_H

#include "dtype.h"
#include "error.h"
#include "mem.h"

#include <stdbool.h>
#include <stddef.h>

/* The values of a parameter where a condition holds: a number, or a gradient over the layers. */
struct conditional_value {
    const char *filter; /* a part of the tensor's name; NULL: it always holds */
    size_t n_values;
    const double *values;
};

/* A parameter as it was set in one place. A plain number is one condition that always holds. What
 * is a text or a list of them counts as such too; most parameters take none, and then `wrong` says
 * what is no number. */
struct config_parameter {
    const char *name;
    size_t line;
    size_t n_conditions;
    const struct conditional_value *conditions; /* the first that holds counts; none if `wrong` */
    size_t n_texts;
    const char **texts;
    const char *number_error; /* a whole sentence; NULL: all are numbers */
};

struct settings {
    size_t n;
    const struct config_parameter *items;
};

/* A model that takes part, in a slice with the layers from .. to - 1. */
struct config_source {
    const char *model;
    size_t line;
    bool has_range;
    long from, to;
    struct settings parameters;
};

/* `models` is one slice whose sources have no ranges. */
struct config_slice {
    size_t line;
    size_t n_sources;
    struct config_source *sources;
    const char *base; /* the slice's own; NULL: the document's */
    struct settings parameters;
};

/* One document. What was not given is NULL, 0 or DTYPE_NONE. */
struct merge_config {
    size_t line;
    const char *name, *method, *base, *tokenizer, *chat_template;
    size_t method_line, base_line, tokenizer_line, chat_line;
    enum dtype dtype, out_dtype;
    bool has_slices;
    size_t n_slices;
    struct config_slice *slices;
    struct settings module_parameters, parameters;
};

struct merge_config_file {
    const char *path;
    size_t n_documents;
    struct merge_config *documents;
};

/* Reads a file ("-": standard input). The sentence of an error says the line. Keys that nobody
 * knows are left out, as mergekit does; what a person should know of them goes to standard error,
 * after `tool`. */
int merge_config_read(struct merge_config_file *f, const char *path, const char *tool,
                      struct arena *a, struct error *e);

/* The setting of that name; NULL if there is none. */
const struct config_parameter *config_parameters_find(const struct settings *s, const char *name);

#endif
