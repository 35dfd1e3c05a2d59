#include "stage_rules.h"

#include "glob_pattern.h"
#include "printable.h"
#include "stage.h"

#include <stdlib.h>

const char *stage_rules_name_to_match(const struct tensor *t, const struct vector *v)
{
    return v->source && t->layer >= 0 ? v->source : t->name;
}

double stage_rules_vector_value(const struct stage *s, const struct tensor_rules *r,
                                const struct tensor *t, const struct vector *v, double missing)
{
    double value;
    return tensor_rules_find_value(r, s->in->models[v->model].name, stage_rules_name_to_match(t, v),
                                   t->layer, t->layers, &value)
               ? value
               : missing;
}

double stage_rules_tensor_value(const struct tensor_rules *r, const struct tensor *t,
                                double missing)
{
    double value;
    return tensor_rules_find_value(r, NULL, t->name, t->layer, t->layers, &value) ? value : missing;
}

/* ---- errors ---------------------------------------------------------------------------------- */

int stage_rules_check_models(const struct tensor_rules *r, const char *what, const struct header *h,
                             struct error *e)
{
    const char **models = mem_alloc(h->n_models, sizeof *models);
    for (size_t i = 0; i < h->n_models; i++)
        models[i] = h->models[i].name;
    const char *unknown = tensor_rules_find_unknown_model(r, h->n_models, models);
    free(models);
    return unknown ? error_set(e, "%s %s: the stream has no model of that name", what, unknown) : 0;
}

/* For a number per tensor. */
static int check_per_tensor_rules(const char *label, const struct option_row *o,
                                  const struct tensor_rules *r, const struct header *h,
                                  struct error *e)
{
    const char *with_model = tensor_rules_find_unknown_model(r, 0, NULL);
    if (with_model)
        return error_set(e,
                         "%s %s names a model, but the number is one per tensor (write /GLOB=...)",
                         label, with_model);
    for (size_t i = 0; o->every_tensor && i < h->n_tensors; i++)
        if (tensor_is_float(&h->tensors[i]) &&
            isnan(stage_rules_tensor_value(r, &h->tensors[i], NAN)))
            return error_set(e, "%s has no rule for tensor %s", label, h->tensors[i].name);
    return 0;
}

/* A layer gradient can be checked only at each tensor's layer: between its own numbers it may leave
 * the range, which the rules limit where they can. */
static int check_rule_values_in_range(const char *label, const struct option_row *o,
                                      const struct tensor_rules *r, const struct header *h,
                                      struct error *e)
{
    double x;
    char text[32], range[80];
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        for (size_t k = 0; k < (o->per_tensor ? 1 : t->n_vectors); k++) {
            const struct vector *v = &t->vectors[k];
            const char *model = o->per_tensor ? NULL : h->models[v->model].name;
            const char *name = o->per_tensor ? t->name : stage_rules_name_to_match(t, v);
            if (!tensor_rules_find_value(r, model, name, t->layer, t->layers, &x))
                continue;
            if (!range_contains(&o->range, x) || (o->whole && x != floor(x)))
                return error_set(e, "%s is %s for tensor %s; expected %snumbers %s", label,
                                 number_format(x, text), t->name, o->whole ? "whole " : "",
                                 range_format(&o->range, range));
        }
    }
    return 0;
}

/* ---- warnings -------------------------------------------------------------------------------- */

/* Sets matches[i] of the rules that match a tensor or vector of the stream. */
static void mark_matching_rules(const struct tensor_rules *r, bool per_tensor,
                                const struct header *h, bool *matches)
{
    for (size_t j = 0; j < h->n_tensors; j++) {
        const struct tensor *t = &h->tensors[j];
        if (per_tensor)
            tensor_rules_mark_matches(r, NULL, t->name, matches);
        for (size_t k = 0; !per_tensor && k < t->n_vectors; k++) {
            const struct vector *v = &t->vectors[k];
            tensor_rules_mark_matches(r, h->models[v->model].name, stage_rules_name_to_match(t, v),
                                      matches);
        }
    }
}

static void warn_unmatched_rules(const struct stage *s, const char *label,
                                 const struct tensor_rules *r, bool per_tensor,
                                 const struct header *h)
{
    bool *matches = mem_alloc(tensor_rules_count(r), sizeof *matches);
    mark_matching_rules(r, per_tensor, h, matches);
    for (size_t i = 0; i < tensor_rules_count(r); i++)
        if (tensor_rules_has_tensor_pattern(r, i) && !matches[i])
            printable_warning(s->filter->name, "%s %s matches no tensor", label,
                              tensor_rules_rule_text(r, i));
    free(matches);
}

static void warn_unmatched_globs(const struct stage *s, const char *label,
                                 const struct string_list *globs, const struct header *h)
{
    for (size_t i = 0; i < globs->n; i++) {
        bool found = false;
        for (size_t j = 0; !found && j < h->n_tensors; j++)
            found = glob_pattern_matches(globs->items[i], h->tensors[j].name);
        if (!found)
            printable_warning(s->filter->name, "%s %s matches no tensor", label, globs->items[i]);
    }
}

/* ---- all rules of a stage -------------------------------------------------------------------- */

static int check_rules_of_option(const struct stage *s, const struct option_row *o,
                                 const char *label, const struct tensor_rules *r,
                                 const struct header *h, struct error *e)
{
    if (o->per_tensor ? check_per_tensor_rules(label, o, r, h, e)
                      : stage_rules_check_models(r, label, h, e))
        return -1;
    bool chooses_vectors = o->kind == OPTION_SELECTORS && !o->per_tensor;
    if (chooses_vectors) /* whether they choose anything is the filter's to check */
        return 0;
    if (o->kind != OPTION_SELECTORS && check_rule_values_in_range(label, o, r, h, e))
        return -1;
    warn_unmatched_rules(s, label, r, o->per_tensor, h);
    return 0;
}

int stage_rules_check_all(struct stage *s, const struct header *h, struct error *e)
{
    struct stage_option rules[STAGE_OPTIONS_MAX];
    size_t n = stage_list_rules(s, rules);
    for (size_t i = 0; i < n; i++)
        if (check_rules_of_option(s, rules[i].row, stage_option_label(s, rules[i].row),
                                  rules[i].field, h, e))
            return -1;
    if (s->filter->element_wise) {
        warn_unmatched_globs(s, "--include", &s->common.include, h);
        warn_unmatched_globs(s, "--exclude", &s->common.exclude, h);
    }
    return 0;
}
