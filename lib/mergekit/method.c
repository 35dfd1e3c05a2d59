#include "method.h"

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

static const struct method methods[] = {
    {"linear", BASE_MEMBER, false, 1, SIZE_MAX, SPARSE_NONE, WEIGHTS_GIVEN,
     {WEIGHT, FLAG("normalize", 1)}},
    {"slerp", BASE_NEEDED, false, 0, 1, SPARSE_NONE, WEIGHTS_GIVEN,
     {{"t", GLOBAL, .required = true}}},
    {"nearswap", BASE_NEEDED, false, 1, 1, SPARSE_NONE, WEIGHTS_GIVEN,
     {{"t", GLOBAL, .required = true, .low = 0, .high = INFINITY, .high_open = true}}},
    {"task_arithmetic", BASE_NEEDED, true, 0, SIZE_MAX, SPARSE_NONE, WEIGHTS_GIVEN,
     {WEIGHT, FLAG("normalize", 0), LAMBDA, NO_EFFECT("density"), NO_EFFECT("rescale"),
      NO_EFFECT("int8_mask")}},
    {"ties", BASE_NEEDED, true, 0, SIZE_MAX, SPARSE_MAGNITUDE, WEIGHTS_VOTE,
     {WEIGHT, DENSITY, FLAG("normalize", 1), FLAG("rescale", 0), LAMBDA, NO_EFFECT("int8_mask")}},
    {"dare_ties", BASE_NEEDED, true, 0, SIZE_MAX, SPARSE_RANDOM, WEIGHTS_VOTE,
     {WEIGHT, DENSITY, FLAG("normalize", 0), FLAG("rescale", 1), LAMBDA,
      NO_EFFECT("int8_mask")}},
    {"dare_linear", BASE_NEEDED, true, 0, SIZE_MAX, SPARSE_RANDOM, WEIGHTS_GIVEN,
     {WEIGHT, DENSITY, FLAG("normalize", 0), FLAG("rescale", 1), LAMBDA,
      NO_EFFECT("int8_mask")}},
    {"breadcrumbs", BASE_NEEDED, true, 0, SIZE_MAX, SPARSE_OUTLIERS, WEIGHTS_GIVEN,
     {WEIGHT, DENSITY, {"gamma", PER_MODEL, .preset = 0.01, .high = 1, .high_open = true},
      FLAG("normalize", 0), FLAG("rescale", 0), LAMBDA, NO_EFFECT("int8_mask")}},
    {"breadcrumbs_ties", BASE_NEEDED, true, 0, SIZE_MAX, SPARSE_OUTLIERS, WEIGHTS_VOTE,
     {WEIGHT, DENSITY, {"gamma", PER_MODEL, .preset = 0.01, .high = 1, .high_open = true},
      FLAG("normalize", 0), FLAG("rescale", 0), LAMBDA, NO_EFFECT("int8_mask")}},
    {"della", BASE_NEEDED, true, 0, SIZE_MAX, SPARSE_DELLA, WEIGHTS_VOTE,
     {WEIGHT, DENSITY, {"epsilon", PER_MODEL, .preset = 0.15, .high = 1, .high_open = true},
      FLAG("normalize", 1), FLAG("rescale", 1), LAMBDA, NO_EFFECT("int8_mask")}},
    {"della_linear", BASE_NEEDED, true, 0, SIZE_MAX, SPARSE_DELLA, WEIGHTS_GIVEN,
     {WEIGHT, DENSITY, {"epsilon", PER_MODEL, .preset = 0.15, .high = 1, .high_open = true},
      FLAG("normalize", 0), FLAG("rescale", 1), LAMBDA, NO_EFFECT("int8_mask")}},
    {"model_stock", BASE_NEEDED, true, 2, SIZE_MAX, SPARSE_NONE, WEIGHTS_GIVEN,
     {FLAG("filter_wise", 0)}},
    {"nuslerp", BASE_ORIGIN, true, 2, 2, SPARSE_NONE, WEIGHTS_GIVEN,
     {WEIGHT, FLAG("nuslerp_flatten", 1), FLAG("nuslerp_row_wise", 0)}},
    {"sce", BASE_NEEDED, true, 0, SIZE_MAX, SPARSE_NONE, WEIGHTS_VOTE,
     {{"select_topk", GLOBAL, .preset = 1, .high = 1, .capped = true}, NO_EFFECT("int8_mask")}},
    {"karcher", BASE_MEMBER, false, 1, SIZE_MAX, SPARSE_NONE, WEIGHTS_GIVEN,
     {{"max_iter", GLOBAL, .preset = 10, .high = 1e9},
      {"tol", GLOBAL, .preset = 1e-5, .high = INFINITY, .low_open = true, .high_open = true}}},
    {"multislerp", BASE_ORIGIN, true, 1, SIZE_MAX, SPARSE_NONE, WEIGHTS_GIVEN,
     {WEIGHT, FLAG("normalize_weights", 1),
      {"eps", GLOBAL, .preset = 1e-8, .high = INFINITY, .low_open = true, .high_open = true}}},
    {"arcee_fusion", BASE_NEEDED, false, 1, 1, SPARSE_NONE, WEIGHTS_GIVEN, {{0}}},
    {"ram", BASE_NEEDED, true, 0, SIZE_MAX, SPARSE_NONE, WEIGHTS_GIVEN,
     {{"epsilon", GLOBAL, .preset = 1e-5, .high = INFINITY, .high_open = true}}},
    {"ramplus_tl", BASE_NEEDED, true, 0, SIZE_MAX, SPARSE_NONE, WEIGHTS_GIVEN,
     {{"epsilon", GLOBAL, .preset = 1e-5, .high = INFINITY, .high_open = true},
      {"r", GLOBAL, .preset = 0.1}, {"alpha", GLOBAL, .preset = 0.2}}},
    {"passthrough", BASE_NONE, false, 1, 1, SPARSE_NONE, WEIGHTS_GIVEN,
     {{"scale", PER_MODEL, .preset = 1}}},
    {"expert_merging", BASE_NEEDED, true, 1, SIZE_MAX, SPARSE_NONE, WEIGHTS_LEARNED, {{0}}},
    {"expert_merging_pp", BASE_NEEDED, true, 1, SIZE_MAX, SPARSE_NONE, WEIGHTS_LEARNED, {{0}}},
};
/* clang-format on */

/* Of older versions, without effect in those of today. */
static const char *const retired[] = {"embed_slerp"};

const struct method *method_find(const char *name)
{
    for (size_t i = 0; i < COUNT(methods); i++)
        if (strcmp(methods[i].name, name) == 0)
            return &methods[i];
    return NULL;
}

const struct parameter *method_parameter(const struct method *m, const char *name)
{
    for (size_t i = 0; i < PARAMETERS_MAX && m->parameters[i].name; i++)
        if (strcmp(m->parameters[i].name, name) == 0)
            return &m->parameters[i];
    return NULL;
}

const char *method_nearest(const char *name)
{
    const char *names[COUNT(methods)];
    for (size_t i = 0; i < COUNT(methods); i++)
        names[i] = methods[i].name;
    return suggest_word(name, COUNT(methods), names);
}

const char *method_nearest_parameter(const char *name)
{
    const char *names[COUNT(methods) * PARAMETERS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < COUNT(methods); i++)
        for (size_t j = 0; j < PARAMETERS_MAX && methods[i].parameters[j].name; j++)
            names[n++] = methods[i].parameters[j].name;
    return suggest_word(name, n, names);
}

bool method_is_parameter(const char *name)
{
    bool found = false;
    for (size_t i = 0; i < COUNT(methods); i++)
        found |= method_parameter(&methods[i], name) != NULL;
    for (size_t i = 0; i < COUNT(retired); i++)
        found |= strcmp(retired[i], name) == 0;
    return found;
}

/* ---- looking up ----------------------------------------------------------------------------- */

/* Caps a number and refuses one that the parameter does not take. Of a gradient only the values at
 * the layers count, which the filters look at. */
static int check_number(struct condition *c, const struct parameter *p, const struct setting *s,
                        const char *file, struct arena *a, struct error *e)
{
    const struct range range = {p->low, p->high, p->low_open, p->high_open};
    double *x = arena_copy(a, c->values, c->n * sizeof *x);
    char text[32], limits[80];
    c->values = x;
    if (p->low == p->high || c->n > 1)
        return 0;
    if (p->capped && *x > p->high)
        *x = p->high;
    return range_holds(&range, *x)
               ? 0
               : error_set(e, "%.200s, line %zu: %s is %s; expected numbers %s", file, s->line,
                           p->name, number_text(*x, text), range_text(&range, limits));
}

/* Adds the conditions of a setting, up to one that always holds. */
static int add_conditions(struct choice *c, const struct parameter *p, const struct setting *s,
                          const char *file, struct arena *a, struct error *e)
{
    struct condition *all = arena_alloc(a, c->n + s->n, sizeof *all);
    if (c->n)
        memcpy(all, c->conditions, c->n * sizeof *all);
    c->conditions = all;
    if (!c->line)
        c->line = s->line;
    for (size_t i = 0; i < s->n && !c->complete; i++) {
        all[c->n] = s->conditions[i];
        if (check_number(&all[c->n], p, s, file, a, e))
            return -1;
        c->complete = !all[c->n++].filter;
    }
    return 0;
}

int method_choose(struct choice *c, const struct parameter *p, const struct levels *levels,
                  const char *file, struct arena *a, struct error *e)
{
    const struct condition preset = {.n = 1, .values = &p->preset};
    const struct setting last = {.n = 1, .conditions = &preset};
    *c = (struct choice){0};
    for (size_t i = 0; i < levels->n && !c->complete; i++) {
        const struct setting *s = config_setting(levels->settings[i], p->name);
        if (s && add_conditions(c, p, s, file, a, e))
            return -1;
    }
    return c->complete || p->required ? 0 : add_conditions(c, p, &last, file, a, e);
}

static bool same_condition(const struct condition *a, const struct condition *b)
{
    return a->n == b->n && memcmp(a->values, b->values, a->n * sizeof *a->values) == 0 &&
           !a->filter == !b->filter && (!a->filter || strcmp(a->filter, b->filter) == 0);
}

bool method_same_choice(const struct choice *a, const struct choice *b)
{
    bool same = a->n == b->n && a->complete == b->complete;
    for (size_t i = 0; same && i < a->n; i++)
        same = same_condition(&a->conditions[i], &b->conditions[i]);
    return same;
}

int method_constant(const struct choice *c, double *x)
{
    if (!c->complete)
        return -1;
    *x = c->conditions[0].values[0];
    for (size_t i = 0; i < c->n; i++)
        for (size_t j = 0; j < c->conditions[i].n; j++)
            if (c->conditions[i].values[j] != *x)
                return -1;
    return 0;
}
