/* The `parameters` maps of a merge configuration, read from YAML.
 * Everything belongs to the arena of the YAML tree that it is read from. */
#ifndef TV_CONFIG_PARAMETERS_H
#define TV_CONFIG_PARAMETERS_H

#include "yaml_tree.h"

/* A value for some tensors: a number or a boolean, or a layer gradient: a list of them, whose
 * numbers are interpolated over the layers. A scalar may be text that is neither; which of the two
 * it must be, the parameter decides. true, yes and on are 1, false, no and off are 0. */
struct conditional_value {
    const char *filter; /* a substring of the tensor's name; NULL: any tensor */
    size_t n_values;
    const double *values;
    const char *number_error; /* the message if one of the values is no number; NULL */
    const char *flag_error;   /* the message if one of them is neither true nor false; NULL */
};

/* A parameter as one map sets it. A value without a filter is one condition for any tensor; its
 * strings are also stored in `texts`. */
struct config_parameter {
    const char *name;
    size_t line;
    size_t n_conditions;
    const struct conditional_value *conditions; /* the first whose filter matches applies */
    size_t n_texts;
    const char **texts;
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
