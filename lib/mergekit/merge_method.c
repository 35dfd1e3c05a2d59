#include "merge_method.h"

#include "spelling_suggestion.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* clang-format off */
#define FROM_0_TO(x)     .range = {.high = x}
#define FROM_0_BELOW(x)  .range = {.high = x, .high_open = true}
#define ABOVE_0          .range = {.high = INFINITY, .low_open = true, .high_open = true}
#define ABOVE_0_TO(x)    .range = {.high = x, .low_open = true}
#define FROM_1E_7_TO_1   .range = {.low = 1e-7, .high = 1, .high_open = true}

#define WEIGHT           {"weight", PER_MODEL, .required = true}
#define WEIGHT_OR_1      {"weight", PER_MODEL, .preset = 1}
#define DENSITY          {"density", PER_MODEL, .preset = 1, FROM_0_TO(1), .capped = true}
#define GAMMA            {"gamma", PER_MODEL, .preset = 0.01, FROM_0_BELOW(1)}
#define DELLA_EPSILON    {"epsilon", PER_MODEL, .preset = 0.15, FROM_0_BELOW(1)}
#define RAM_EPSILON      {"epsilon", GLOBAL, .preset = 1e-5, FROM_0_BELOW(INFINITY)}
#define FLAG(name, on)   {name, GLOBAL, .preset = on, .is_flag = true}
#define LAMBDA           {"lambda", GLOBAL, .preset = 1}
#define FILE_NAMED(name) {name, FILE_OF_MODEL, .required = true}
#define TOLERANCE        {"tolerance", GLOBAL, .preset = 1e-6, FROM_1E_7_TO_1}
#define STEPS            {"steps", GLOBAL, .preset = 300, FROM_0_TO(1e9)}
#define IGNORED(name)    {name, IGNORED_PARAMETER, .required = false}

/* name, base, task vectors, fewest and most models, sparsifier, weights, parameters */
static const struct merge_method methods[] = {
    {"linear", BASE_IS_A_MODEL, false, 1, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM,
     {WEIGHT, FLAG("normalize", 1)}},
    {"slerp", BASE_REQUIRED, false, 0, 1, SPARSIFY_NONE, WEIGHTS_SUM,
     {{"t", GLOBAL, .required = true}}},
    {"nearswap", BASE_REQUIRED, false, 1, 1, SPARSIFY_NONE, WEIGHTS_SUM,
     {{"t", GLOBAL, .required = true, FROM_0_BELOW(INFINITY)}}},
    {"task_arithmetic", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM,
     {WEIGHT, FLAG("normalize", 0), LAMBDA, IGNORED("density"), IGNORED("rescale"),
      IGNORED("int8_mask")}},
    {"ties", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSIFY_MAGNITUDE, WEIGHTS_VOTE,
     {WEIGHT, DENSITY, FLAG("normalize", 1), FLAG("rescale", 0), LAMBDA, IGNORED("int8_mask")}},
    {"dare_ties", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSIFY_RANDOM, WEIGHTS_VOTE,
     {WEIGHT, DENSITY, FLAG("normalize", 0), FLAG("rescale", 1), LAMBDA, IGNORED("int8_mask")}},
    {"dare_linear", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSIFY_RANDOM, WEIGHTS_SUM,
     {WEIGHT, DENSITY, FLAG("normalize", 0), FLAG("rescale", 1), LAMBDA, IGNORED("int8_mask")}},
    {"breadcrumbs", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSIFY_OUTLIERS, WEIGHTS_SUM,
     {WEIGHT, DENSITY, GAMMA, FLAG("normalize", 0), FLAG("rescale", 0), LAMBDA,
      IGNORED("int8_mask")}},
    {"breadcrumbs_ties", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSIFY_OUTLIERS, WEIGHTS_VOTE,
     {WEIGHT, DENSITY, GAMMA, FLAG("normalize", 0), FLAG("rescale", 0), LAMBDA,
      IGNORED("int8_mask")}},
    {"della", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSIFY_DELLA, WEIGHTS_VOTE,
     {WEIGHT, DENSITY, DELLA_EPSILON, FLAG("normalize", 1), FLAG("rescale", 1), LAMBDA,
      IGNORED("int8_mask")}},
    {"della_linear", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSIFY_DELLA, WEIGHTS_SUM,
     {WEIGHT, DENSITY, DELLA_EPSILON, FLAG("normalize", 0), FLAG("rescale", 1), LAMBDA,
      IGNORED("int8_mask")}},
    {"model_stock", BASE_REQUIRED, true, 2, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM,
     {FLAG("filter_wise", 0)}},
    {"nuslerp", BASE_OPTIONAL, true, 2, 2, SPARSIFY_NONE, WEIGHTS_SUM,
     {WEIGHT, FLAG("nuslerp_flatten", 1), FLAG("nuslerp_row_wise", 0)}},
    {"sce", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_VOTE,
     {{"select_topk", GLOBAL, .preset = 1, FROM_0_TO(1), .capped = true}, IGNORED("int8_mask")}},
    {"karcher", BASE_IS_A_MODEL, false, 1, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM,
     {{"max_iter", GLOBAL, .preset = 10, FROM_0_TO(1e9)},
      {"tol", GLOBAL, .preset = 1e-5, ABOVE_0}}},
    {"multislerp", BASE_OPTIONAL, true, 1, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM,
     {WEIGHT, FLAG("normalize_weights", 1), {"eps", GLOBAL, .preset = 1e-8, ABOVE_0}}},
    {"arcee_fusion", BASE_REQUIRED, false, 1, 1, SPARSIFY_NONE, WEIGHTS_SUM, {{0}}},
    {"ram", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM, {RAM_EPSILON}},
    {"ramplus_tl", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM,
     {RAM_EPSILON, {"r", GLOBAL, .preset = 0.1}, {"alpha", GLOBAL, .preset = 0.2}}},
    {"passthrough", BASE_IS_A_MODEL, false, 1, 1, SPARSIFY_NONE, WEIGHTS_SUM,
     {{"scale", PER_MODEL, .preset = 1}}},
    {"regmean", BASE_OPTIONAL, true, 1, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM,
     {FILE_NAMED("gram"), {"reduce", GLOBAL, .preset = 0.9, FROM_0_TO(1)}, LAMBDA}},
    {"fisher", BASE_OPTIONAL, true, 1, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM,
     {FILE_NAMED("diagonal"), WEIGHT_OR_1, LAMBDA}},
    {"lines", BASE_REQUIRED, true, 1, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM,
     {WEIGHT_OR_1, {"alpha", GLOBAL, .preset = METHOD_PARAMETER_UNSET},
      {"beta", GLOBAL, .preset = METHOD_PARAMETER_UNSET}}},
    {"tsv_m", BASE_REQUIRED, true, 1, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM, {TOLERANCE, LAMBDA}},
    {"iso_c", BASE_REQUIRED, true, 1, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM, {TOLERANCE, LAMBDA}},
    {"iso_cts", BASE_REQUIRED, true, 1, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM,
     {{"common_space_fraction", GLOBAL, .preset = 0.8, FROM_0_TO(1)}, TOLERANCE, LAMBDA}},
    {"wudi", BASE_REQUIRED, true, 1, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM,
     {{"lr", GLOBAL, .preset = 1e-5, ABOVE_0}, STEPS, LAMBDA}},
    {"optmerge", BASE_REQUIRED, true, 1, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM,
     {{"lr", GLOBAL, .preset = 1e-4, ABOVE_0}, STEPS, LAMBDA}},
    {"swudi", BASE_REQUIRED, true, 1, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM,
     {WEIGHT_OR_1, {"cumvar", GLOBAL, .preset = 0.85, ABOVE_0_TO(1)},
      {"ratio", GLOBAL, .preset = 0, FROM_0_TO(1)}, {"time", GLOBAL, .preset = 300, ABOVE_0},
      LAMBDA}},
    {"swudi_a", BASE_REQUIRED, true, 1, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_SUM,
     {WEIGHT_OR_1, LAMBDA}},
    {"expert_merging", BASE_REQUIRED, true, 1, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_LEARNED, {{0}}},
    {"expert_merging_pp", BASE_REQUIRED, true, 1, SIZE_MAX, SPARSIFY_NONE, WEIGHTS_LEARNED, {{0}}},
};
/* clang-format on */

const struct merge_method *merge_method_find(const char *name)
{
    for (size_t i = 0; i < COUNT(methods); i++)
        if (strcmp(methods[i].name, name) == 0)
            return &methods[i];
    return NULL;
}

const struct method_parameter *merge_method_find_parameter(const struct merge_method *m,
                                                           const char *name)
{
    for (size_t i = 0; i < MAX_METHOD_PARAMETERS && m->parameters[i].name; i++)
        if (strcmp(m->parameters[i].name, name) == 0)
            return &m->parameters[i];
    return NULL;
}

const char *merge_method_suggest(const char *name)
{
    const char *names[COUNT(methods)];
    for (size_t i = 0; i < COUNT(methods); i++)
        names[i] = methods[i].name;
    return spelling_suggestion_find(name, COUNT(methods), names);
}

const char *merge_method_suggest_parameter(const char *name)
{
    const char *names[COUNT(methods) * MAX_METHOD_PARAMETERS];
    size_t n = 0;
    for (size_t i = 0; i < COUNT(methods); i++)
        for (size_t j = 0; j < MAX_METHOD_PARAMETERS && methods[i].parameters[j].name; j++)
            names[n++] = methods[i].parameters[j].name;
    return spelling_suggestion_find(name, n, names);
}

bool merge_method_is_known_parameter(const char *name)
{
    bool found = false;
    for (size_t i = 0; i < COUNT(methods); i++)
        found |= merge_method_find_parameter(&methods[i], name) != NULL;
    return found;
}
