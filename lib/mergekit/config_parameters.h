/* The `parameters` maps of a merge configuration, read from YAML.
 * Everything belongs to the arena of the YAML tree that it is read from. */
#ifndef TV_CONFIG_PARAMETERS_H
#define TV_CONFIG_PARAMETERS_H

#include "yaml_tree.h"

/* A value for some tensors: a number, or a layer gradient, whose numbers are interpolated over the
 * layers. */
struct conditional_value {
    const char *filter; /* a substring of the tensor's name; NULL: any tensor */
    size_t n_values;
    const double *values;
};

/* A parameter as one map sets it. A plain number is one condition for any tensor. A string, or a
 * list of them, is stored in `texts`; a number is stored both ways. Most parameters must be
 * numbers: `number_error` is the message if this one is not. */
struct config_parameter {
    const char *name;
    size_t line;
    size_t n_conditions;                        /* 0 if there is a number_error */
    const struct conditional_value *conditions; /* the first whose filter matches applies */
    size_t n_texts;
    const char **texts;
    const char *number_error; /* NULL: all values are numbers */
};

struct config_parameters {
    size_t n;
    struct config_parameter *items;
    size_t capacity;
};

/* Reads the key `parameters` of a map, if it has one; `out` starts empty. */
int config_parameters_read(const struct yaml_tree *t, const yaml_node_t *map,
                           struct config_parameters *out);
/* The parameter of that name; NULL if it is not set. */
const struct config_parameter *config_parameters_find(const struct config_parameters *p,
                                                      const char *name);

#endif
