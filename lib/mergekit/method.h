/* mergekit's merge methods and their parameters: which there are, what they take and how the value
 * for a model is found in a configuration. Knows configurations, not filters. */
#ifndef TV_METHOD_H
#define TV_METHOD_H

#include "config.h"

/* A parameter of a method. */
struct parameter {
    const char *name;
    enum { PER_MODEL, GLOBAL, UNUSED } kind;
    bool required;
    double preset; /* where nothing else is said, unless it is required */
    double low, high;
    bool low_open, high_open; /* the numbers it takes; low == high: any */
    bool capped;              /* a number above `high` counts as `high` */
};

enum method_base {
    BASE_NONE,
    BASE_MEMBER, /* one more model that takes part */
    BASE_ORIGIN, /* what task vectors are taken from, where there is one */
    BASE_NEEDED
};

enum method_sparse { SPARSE_NONE, SPARSE_MAGNITUDE, SPARSE_RANDOM, SPARSE_OUTLIERS, SPARSE_DELLA };

/* The weights of models are given, vote for signs too, or are learned by calibrate, of which the
 * method then has the options for parameters. */
enum method_weights { WEIGHTS_GIVEN, WEIGHTS_VOTE, WEIGHTS_LEARNED };

#define PARAMETERS_MAX 8

struct method {
    const char *name;
    enum method_base base;
    bool vectors;    /* works on task vectors where there is a base */
    size_t min, max; /* models besides the base */
    enum method_sparse sparse;
    enum method_weights weights;
    struct parameter parameters[PARAMETERS_MAX]; /* ended by one without a name */
};

const struct method *method_find(const char *name);
const struct parameter *method_parameter(const struct method *m, const char *name);
/* The method, or the parameter of any method, that is spelled most like it; NULL. */
const char *method_nearest(const char *name);
const char *method_nearest_parameter(const char *name);
/* Does any method, or did an older mergekit, know this parameter? */
bool method_is_parameter(const char *name);

/* Where the value of a parameter is looked for: in these, the first first. */
struct levels {
    size_t n;
    const struct settings *settings[4];
};

/* Conditions in the order in which they are tried, up to one that always holds; the preset counts
 * as one. */
struct choice {
    size_t n;
    struct condition *conditions;
    size_t line;   /* of the first setting that has a say; 0: the preset alone */
    bool complete; /* there is a value for every tensor */
};

/* -1: a number that the parameter does not take. `file` begins the sentence. */
int method_choose(struct choice *c, const struct parameter *p, const struct levels *levels,
                  const char *file, struct arena *a, struct error *e);
bool method_same_choice(const struct choice *a, const struct choice *b);
/* The one number that a choice gives to all tensors, or -1. */
int method_constant(const struct choice *c, double *x);

#endif
