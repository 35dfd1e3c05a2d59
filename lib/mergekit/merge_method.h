/* The merge methods of configurations and their parameters: mergekit's, and others. The table is
 * constant; method_steps.h translates a method to filters. */
#ifndef TV_MERGE_METHOD_H
#define TV_MERGE_METHOD_H

#include "number.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

/* The default of a parameter whose value, if it is not set, follows from others. */
#define METHOD_PARAMETER_UNSET (-INFINITY)

/* A parameter of a method: a number, or a flag. */
struct method_parameter {
    const char *name;
    enum {
        PER_MODEL, /* each model may have its own value */
        GLOBAL,
        FILE_OF_MODEL,    /* a path, for each model */
        IGNORED_PARAMETER /* accepted without effect, as in mergekit */
    } kind;
    bool required;
    bool is_flag;       /* 0 or 1, of which a layer gradient chooses */
    double preset;      /* the default, if not required */
    struct range range; /* of valid numbers; {0}: any */
    bool capped;        /* a number above the range is replaced by the upper end */
};

/* The role of base_model in a method. */
enum method_base {
    BASE_IS_A_MODEL, /* it is merged like the other models */
    BASE_OPTIONAL,   /* with it the method works on task vectors */
    BASE_REQUIRED
};

/* How a method sparsifies task vectors: by magnitude (TIES), at random (DARE), by magnitude without
 * outliers (Breadcrumbs), at random by magnitude (DELLA). */
enum method_sparsifier {
    SPARSIFY_NONE,
    SPARSIFY_MAGNITUDE,
    SPARSIFY_RANDOM,
    SPARSIFY_OUTLIERS,
    SPARSIFY_DELLA
};

/* What the weights of a method do. */
enum method_weights {
    WEIGHTS_SUM,    /* scale the vectors */
    WEIGHTS_VOTE,   /* scale the vectors, and their votes for a sign */
    WEIGHTS_LEARNED /* come from calibrate, whose options are the method's parameters */
};

#define MAX_METHOD_PARAMETERS 8

struct merge_method {
    const char *name;
    enum method_base base;
    bool uses_task_vectors;        /* if there is a base */
    size_t min_models, max_models; /* besides the base */
    enum method_sparsifier sparsifier;
    enum method_weights weights;
    struct method_parameter parameters[MAX_METHOD_PARAMETERS]; /* ended by one without a name */
};

/* NULL if there is none of that name. */
const struct merge_method *merge_method_find(const char *name);
const struct method_parameter *merge_method_find_parameter(const struct merge_method *m,
                                                           const char *name);
/* The name of a method, or of a parameter of any method, that resembles `name`; NULL if none does.
 */
const char *merge_method_suggest(const char *name);
const char *merge_method_suggest_parameter(const char *name);
/* Is it a parameter of any method? */
bool merge_method_is_known_parameter(const char *name);

#endif
