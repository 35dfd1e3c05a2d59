#include "merge_method.h"

#include "suggest.h"
#include "number.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* clang-format off */
#define WEIGHT           {"weight", PER_MODEL, .required = true}
#define DENSITY          {"density", PER_MODEL, .preset = 1, .low = 0, .high = 1, .capped = true}
#define FLAG(name, on)   {name, GLOBAL, .preset = on}
#define LAMBDA           {"lambda", GLOBAL, .preset = 1}
#define NO_EFFECT(name)  {name, UNUSED, .required = false}

static const struct merge_method methods[] = {
    {"linear", BASE_IS_A_MODEL, false, 1, SIZE_MAX, SPARSE_NONE, WEIGHTS_GIVEN,
     {WEIGHT, FLAG("normalize", 1)}},
    {"slerp", BASE_REQUIRED, false, 0, 1, SPARSE_NONE, WEIGHTS_GIVEN,
     {{"t", GLOBAL, .required = true}}},
    {"nearswap", BASE_REQUIRED, false, 1, 1, SPARSE_NONE, WEIGHTS_GIVEN,
     {{"t", GLOBAL, .required = true, .low = 0, .high = INFINITY, .high_open = true}}},
    {"task_arithmetic", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSE_NONE, WEIGHTS_GIVEN,
     {WEIGHT, FLAG("normalize", 0), LAMBDA, NO_EFFECT("density"), NO_EFFECT("rescale"),
      NO_EFFECT("int8_mask")}},
    {"ties", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSE_MAGNITUDE, WEIGHTS_VOTE,
     {WEIGHT, DENSITY, FLAG("normalize", 1), FLAG("rescale", 0), LAMBDA, NO_EFFECT("int8_mask")}},
    {"dare_ties", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSE_RANDOM, WEIGHTS_VOTE,
     {WEIGHT, DENSITY, FLAG("normalize", 0), FLAG("rescale", 1), LAMBDA,
      NO_EFFECT("int8_mask")}},
    {"dare_linear", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSE_RANDOM, WEIGHTS_GIVEN,
     {WEIGHT, DENSITY, FLAG("normalize", 0), FLAG("rescale", 1), LAMBDA,
      NO_EFFECT("int8_mask")}},
    {"breadcrumbs", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSE_OUTLIERS, WEIGHTS_GIVEN,
     {WEIGHT, DENSITY, {"gamma", PER_MODEL, .preset = 0.01, .high = 1, .high_open = true},
      FLAG("normalize", 0), FLAG("rescale", 0), LAMBDA, NO_EFFECT("int8_mask")}},
    {"breadcrumbs_ties", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSE_OUTLIERS, WEIGHTS_VOTE,
     {WEIGHT, DENSITY, {"gamma", PER_MODEL, .preset = 0.01, .high = 1, .high_open = true},
      FLAG("normalize", 0), FLAG("rescale", 0), LAMBDA, NO_EFFECT("int8_mask")}},
    {"della", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSE_DELLA, WEIGHTS_VOTE,
     {WEIGHT, DENSITY, {"epsilon", PER_MODEL, .preset = 0.15, .high = 1, .high_open = true},
      FLAG("normalize", 1), FLAG("rescale", 1), LAMBDA, NO_EFFECT("int8_mask")}},
    {"della_linear", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSE_DELLA, WEIGHTS_GIVEN,
     {WEIGHT, DENSITY, {"epsilon", PER_MODEL, .preset = 0.15, .high = 1, .high_open = true},
      FLAG("normalize", 0), FLAG("rescale", 1), LAMBDA, NO_EFFECT("int8_mask")}},
    {"model_stock", BASE_REQUIRED, true, 2, SIZE_MAX, SPARSE_NONE, WEIGHTS_GIVEN,
     {FLAG("filter_wise", 0)}},
    {"nuslerp", BASE_OPTIONAL, true, 2, 2, SPARSE_NONE, WEIGHTS_GIVEN,
     {WEIGHT, FLAG("nuslerp_flatten", 1), FLAG("nuslerp_row_wise", 0)}},
    {"sce", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSE_NONE, WEIGHTS_VOTE,
     {{"select_topk", GLOBAL, .preset = 1, .high = 1, .capped = true}, NO_EFFECT("int8_mask")}},
    {"karcher", BASE_IS_A_MODEL, false, 1, SIZE_MAX, SPARSE_NONE, WEIGHTS_GIVEN,
     {{"max_iter", GLOBAL, .preset = 10, .high = 1e9},
      {"tol", GLOBAL, .preset = 1e-5, .high = INFINITY, .low_open = true, .high_open = true}}},
    {"multislerp", BASE_OPTIONAL, true, 1, SIZE_MAX, SPARSE_NONE, WEIGHTS_GIVEN,
     {WEIGHT, FLAG("normalize_weights", 1),
      {"eps", GLOBAL, .preset = 1e-8, .high = INFINITY, .low_open = true, .high_open = true}}},
    {"arcee_fusion", BASE_REQUIRED, false, 1, 1, SPARSE_NONE, WEIGHTS_GIVEN, {{0}}},
    {"ram", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSE_NONE, WEIGHTS_GIVEN,
     {{"epsilon", GLOBAL, .preset = 1e-5, .high = INFINITY, .high_open = true}}},
    {"ramplus_tl", BASE_REQUIRED, true, 0, SIZE_MAX, SPARSE_NONE, WEIGHTS_GIVEN,
     {{"epsilon", GLOBAL, .preset = 1e-5, .high = INFINITY, .high_open = true},
      {"r", GLOBAL, .preset = 0.1}, {"alpha", GLOBAL, .preset = 0.2}}},
    {"passthrough", BASE_REJECTED, false, 1, 1, SPARSE_NONE, WEIGHTS_GIVEN,
     {{"scale", PER_MODEL, .preset = 1}}},
    {"expert_merging", BASE_REQUIRED, true, 1, SIZE_MAX, SPARSE_NONE, WEIGHTS_LEARNED, {{0}}},
    {"expert_merging_pp", BASE_REQUIRED, true, 1, SIZE_MAX, SPARSE_NONE, WEIGHTS_LEARNED, {{0}}},
};
/* clang-format on */

/* Of older versions, without effect in those of today. */
static const char *const retired[] = {"embed_slerp"};

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
    for (size_t i = 0; i < PARAMETERS_MAX && m->parameters[i].name; i++)
        if (strcmp(m->parameters[i].name, name) == 0)
            return &m->parameters[i];
    return NULL;
}

const char *merge_method_suggest(const char *name)
{
    const char *names[COUNT(methods)];
    for (size_t i = 0; i < COUNT(methods); i++)
        names[i] = methods[i].name;
    return suggest_word(name, COUNT(methods), names);
}

const char *merge_method_suggest_parameter(const char *name)
{
    const char *names[COUNT(methods) * PARAMETERS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < COUNT(methods); i++)
        for (size_t j = 0; j < PARAMETERS_MAX && methods[i].parameters[j].name; j++)
            names[n++] = methods[i].parameters[j].name;
    return suggest_word(name, n, names);
}

bool merge_method_is_known_parameter(const char *name)
{
    bool found = false;
    for (size_t i = 0; i < COUNT(methods); i++)
        found |= merge_method_find_parameter(&methods[i], name) != NULL;
    for (size_t i = 0; i < COUNT(retired); i++)
        found |= strcmp(retired[i], name) == 0;
    return found;
}

/* ---- looking up ----------------------------------------------------------------------------- */

/* Caps a number and refuses one that the parameter does not take. Of a gradient only the values at
 * the layers count, which the filters look at. */
static int check_number(struct conditional_value *c, const struct method_parameter *p,
                        const struct config_parameter *s, const char *file, struct arena *a,
                        struct error *e)
{
    const struct range range = {p->low, p->high, p->low_open, p->high_open};
    double *x = arena_copy(a, c->values, c->n_values * sizeof *x);
    char text[32], limits[80];
    c->values = x;
    if (p->low == p->high || c->n_values > 1)
        return 0;
    if (p->capped && *x > p->high)
        *x = p->high;
    return range_contains(&range, *x)
               ? 0
               : error_set(e, "%.200s, line %zu: %s is %s; expected numbers %s", file, s->line,
                           p->name, number_format(*x, text), range_format(&range, limits));
}

/* Adds the conditions of a setting, up to one that always holds. */
static int add_conditions(struct parameter_value *c, const struct method_parameter *p,
                          const struct config_parameter *s, const char *file, struct arena *a,
                          struct error *e)
{
    struct conditional_value *all = arena_alloc(a, c->n_conditions + s->n_conditions, sizeof *all);
    if (c->n_conditions)
        memcpy(all, c->conditions, c->n_conditions * sizeof *all);
    c->conditions = all;
    if (!c->line)
        c->line = s->line;
    for (size_t i = 0; i < s->n_conditions && !c->complete; i++) {
        all[c->n_conditions] = s->conditions[i];
        if (check_number(&all[c->n_conditions], p, s, file, a, e))
            return -1;
        c->complete = !all[c->n_conditions++].filter;
    }
    return 0;
}

int parameter_value_lookup(struct parameter_value *c, const struct method_parameter *p,
                           const struct parameter_levels *levels, const char *file, struct arena *a,
                           struct error *e)
{
    const struct conditional_value preset = {.n_values = 1, .values = &p->preset};
    const struct config_parameter last = {.n_conditions = 1, .conditions = &preset};
    *c = (struct parameter_value){0};
    for (size_t i = 0; i < levels->n_levels && !c->complete; i++) {
        const struct config_parameter *s = config_parameters_find(levels->settings[i], p->name);
        if (s && add_conditions(c, p, s, file, a, e))
            return -1;
    }
    return c->complete || p->required ? 0 : add_conditions(c, p, &last, file, a, e);
}

static bool same_condition(const struct conditional_value *a, const struct conditional_value *b)
{
    return a->n_values == b->n_values &&
           memcmp(a->values, b->values, a->n_values * sizeof *a->values) == 0 &&
           !a->filter == !b->filter && (!a->filter || strcmp(a->filter, b->filter) == 0);
}

bool parameter_value_equal(const struct parameter_value *a, const struct parameter_value *b)
{
    bool same = a->n_conditions == b->n_conditions && a->complete == b->complete;
    for (size_t i = 0; same && i < a->n_conditions; i++)
        same = same_condition(&a->conditions[i], &b->conditions[i]);
    return same;
}

int parameter_value_constant(const struct parameter_value *c, double *x)
{
    if (!c->complete)
        return -1;
    *x = c->conditions[0].values[0];
    for (size_t i = 0; i < c->n_conditions; i++)
        for (size_t j = 0; j < c->conditions[i].n_values; j++)
            if (c->conditions[i].values[j] != *x)
                return -1;
    return 0;
}
