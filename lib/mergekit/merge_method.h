/* mergekit's merge methods and their parameters: which there are, what they take and how the value
 * for a model is found in a configuration. Knows configurations, not filters. */
#ifndef TV_MERGE_METHOD_H
#define TV_MERGE_METHOD_H

#include "merge_config.h"

/* A parameter of a method. */
struct method_parameter {
    const char *name;
    enum { PER_MODEL, GLOBAL, UNUSED } kind;
    bool required;
    double preset; /* where nothing else is said, unless it is required */
    double low, high;
    bool low_open, high_open; /* the numbers it takes; low == high: any */
    bool capped;              /* a number above `high` counts as `high` */
};

enum method_base {
    BASE_REJECTED,
    BASE_IS_A_MODEL, /* one more model that takes part */
    BASE_OPTIONAL,   /* what task vectors are taken from, where there is one */
    BASE_REQUIRED
};

enum method_sparse { SPARSE_NONE, SPARSE_MAGNITUDE, SPARSE_RANDOM, SPARSE_OUTLIERS, SPARSE_DELLA };

/* The weights of models are given, vote for signs too, or are learned by calibrate, of which the
 * method then has the options for parameters. */
enum method_weights { WEIGHTS_GIVEN, WEIGHTS_VOTE, WEIGHTS_LEARNED };

#define PARAMETERS_MAX 8

struct merge_method {
    const char *name;
    enum method_base base;
    bool uses_task_vectors;        /* works on task vectors where there is a base */
    size_t min_models, max_models; /* models besides the base */
    enum method_sparse sparse;
    enum method_weights weights;
    struct method_parameter parameters[PARAMETERS_MAX]; /* ended by one without a name */
};

const struct merge_method *merge_method_find(const char *name);
const struct method_parameter *merge_method_find_parameter(const struct merge_method *m,
                                                           const char *name);
/* The method, or the parameter of any method, that is spelled most like it; NULL. */
const char *merge_method_suggest(const char *name);
const char *merge_method_suggest_parameter(const char *name);
/* Does any method, or did an older mergekit, know this parameter? */
bool merge_method_is_known_parameter(const char *name);

/* Where the value of a parameter is looked for: in these, the first first. */
struct parameter_levels {
    size_t n_levels;
    const struct settings *settings[4];
};

/* Conditions in the order in which they are tried, up to one that always holds; the preset counts
 * as one. */
struct parameter_value {
    size_t n_conditions;
    struct conditional_value *conditions;
    size_t line;   /* of the first setting that has a say; 0: the preset alone */
    bool complete; /* there is a value for every tensor */
};

/* -1: a number that the parameter does not take. `file` begins the sentence. */
int parameter_value_lookup(struct parameter_value *c, const struct method_parameter *p,
                           const struct parameter_levels *levels, const char *file, struct arena *a,
                           struct error *e);
bool parameter_value_equal(const struct parameter_value *a, const struct parameter_value *b);
/* The one number that a choice gives to all tensors, or -1. */
int parameter_value_constant(const struct parameter_value *c, double *x);

#endif
