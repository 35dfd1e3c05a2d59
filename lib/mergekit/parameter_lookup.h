/* The value that a configuration gives a method's parameter, looked up level by level: the model's
 * parameters, the slice's, the module's, the document's, then the default.
 * Values belong to the arena that is passed in. */
#ifndef TV_PARAMETER_LOOKUP_H
#define TV_PARAMETER_LOOKUP_H

#include "config_parameters.h"
#include "merge_method.h"

#define MAX_PARAMETER_LEVELS 4

/* The levels that are searched, the first one first. */
struct parameter_levels {
    size_t n_levels;
    const struct config_parameters *parameters[MAX_PARAMETER_LEVELS];
};

/* A value for every tensor. Of the conditions, which may come from several levels, the first whose
 * filter matches the tensor's name applies; the last one has no filter if `complete`. */
struct parameter_value {
    size_t n_conditions;
    struct conditional_value *conditions;
    size_t line;   /* where the first level sets it; 0: it is the default */
    bool complete; /* every tensor has a value */
};

/* Looks the parameter up; an error if a number is out of the parameter's range. `file` begins
 * messages. A required parameter that no level sets has no conditions. */
int parameter_lookup_find(struct parameter_value *v, const struct method_parameter *p,
                          const struct parameter_levels *levels, const char *file, struct arena *a,
                          struct error *e);
bool parameter_lookup_values_equal(const struct parameter_value *a,
                                   const struct parameter_value *b);
/* Sets *x if all tensors have the same number; -1 otherwise. */
int parameter_lookup_constant(const struct parameter_value *v, double *x);

#endif
