#include "parameter_lookup.h"

#include <string.h>

/* Checks that values are numbers or booleans; caps the number of a condition, and checks its range.
 * A layer gradient is not checked here: only its values at the layers matter, and the filters check
 * those. */
static int cap_and_check_number(struct conditional_value *c, const struct method_parameter *p,
                                size_t line, const char *file, struct arena *a, struct error *e)
{
    double *x = arena_copy(a, c->values, c->n_values * sizeof *x);
    const char *why = p->is_flag ? c->flag_error : c->number_error;
    char text[32], limits[80];
    c->values = x;
    if (why)
        return error_set(e, "%s", why);
    if (p->range.low == p->range.high || c->n_values > 1)
        return 0;
    if (p->capped && *x > p->range.high)
        *x = p->range.high;
    if (range_contains(&p->range, *x))
        return 0;
    return error_set(e, "%.200s, line %zu: %s is %s; expected numbers %s", file, line, p->name,
                     number_format(*x, text), range_format(&p->range, limits));
}

/* Adds the conditions of one level, up to one without a filter. */
static int add_conditions_of_level(struct parameter_value *v, const struct method_parameter *p,
                                   const struct config_parameter *set, const char *file,
                                   struct arena *a, struct error *e)
{
    struct conditional_value *all =
        arena_alloc(a, v->n_conditions + set->n_conditions, sizeof *all);
    if (v->n_conditions)
        memcpy(all, v->conditions, v->n_conditions * sizeof *all);
    v->conditions = all;
    if (!v->line)
        v->line = set->line;
    for (size_t i = 0; i < set->n_conditions && !v->complete; i++) {
        all[v->n_conditions] = set->conditions[i];
        if (cap_and_check_number(&all[v->n_conditions], p, set->line, file, a, e))
            return -1;
        v->complete = !all[v->n_conditions++].filter;
    }
    return 0;
}

int parameter_lookup_find(struct parameter_value *v, const struct method_parameter *p,
                          const struct parameter_levels *levels, const char *file, struct arena *a,
                          struct error *e)
{
    const struct conditional_value preset = {.n_values = 1, .values = &p->preset};
    const struct config_parameter last = {.n_conditions = 1, .conditions = &preset};
    *v = (struct parameter_value){0};
    for (size_t i = 0; i < levels->n_levels && !v->complete; i++) {
        const struct config_parameter *set = config_parameters_find(levels->parameters[i], p->name);
        if (set && add_conditions_of_level(v, p, set, file, a, e))
            return -1;
    }
    return v->complete || p->required ? 0 : add_conditions_of_level(v, p, &last, file, a, e);
}

static bool conditions_equal(const struct conditional_value *a, const struct conditional_value *b)
{
    return a->n_values == b->n_values &&
           memcmp(a->values, b->values, a->n_values * sizeof *a->values) == 0 &&
           !a->filter == !b->filter && (!a->filter || strcmp(a->filter, b->filter) == 0);
}

bool parameter_lookup_values_equal(const struct parameter_value *a, const struct parameter_value *b)
{
    bool equal = a->n_conditions == b->n_conditions && a->complete == b->complete;
    for (size_t i = 0; equal && i < a->n_conditions; i++)
        equal = conditions_equal(&a->conditions[i], &b->conditions[i]);
    return equal;
}

int parameter_lookup_constant(const struct parameter_value *v, double *x)
{
    if (!v->complete)
        return -1;
    *x = v->conditions[0].values[0];
    for (size_t i = 0; i < v->n_conditions; i++)
        for (size_t j = 0; j < v->conditions[i].n_values; j++)
            if (v->conditions[i].values[j] != *x)
                return -1;
    return 0;
}
