/* Numbers that differ by model, tensor and layer: "0.3", "math=0.3", "math/mlp.*=0.5",
 * "/norm.*=0" (any model), a ramp over the layers "[0.2,0.8]" in place of any number, "@file" with
 * one rule a line ('#' starts a comment line). Of several rules the last that matches wins.
 * A number lies in the range that is asked for. Those of a ramp need not: what counts is its value
 * at a layer, which is held at an end of the range that it would go beyond, if that end belongs to
 * it.
 * What stands before the last '=' is split at its first '/' that no backslash quotes. The model
 * part is a glob too, or matches letter by letter (a name with brackets is its own pattern).
 * Rules own their text until tensor_rules_free; they know neither models nor tensors but their
 * names. */
#ifndef TV_TENSOR_RULES_H
#define TV_TENSOR_RULES_H

#include "error.h"
#include "number.h"

#include <stdbool.h>
#include <stddef.h>

struct tensor_rules {
    size_t n;
    struct rule *items;
};

/* Adds the rule that `text` says; messages begin with `what`, the option's name. One that leaves
 * nothing to those before it is refused. After an error the rules are as they were before. */
int tensor_rules_add(struct tensor_rules *r, const char *text, const char *what,
                     const struct range *range, struct error *e);
/* The rule TEXT=1, for choosing: "math", "math/mlp.*", "/norm.*". */
int tensor_rules_add_selector(struct tensor_rules *r, const char *text, const char *what,
                              struct error *e);
/* The value for a model's tensor in layer `layer` of `layers` (-1: outside the layers, which
 * takes a ramp's first value; a slice of one layer takes the last). `tensor` is the name that
 * globs are matched against. `model` may be NULL for numbers per tensor: then rules that name one
 * do not match ('*' names none). False if no rule matches. Of a ramp that goes beyond an open end
 * the value lies outside the range. */
bool tensor_rules_find_value(const struct tensor_rules *r, const char *model, const char *tensor,
                             long layer, long layers, double *value);
/* Rule i by itself: does it speak of some tensors only, and does it match this one? */
bool tensor_rules_has_tensor_pattern(const struct tensor_rules *r, size_t i);
bool tensor_rules_rule_matches(const struct tensor_rules *r, size_t i, const char *model,
                               const char *tensor);
/* The first rule that names a model (by a glob) which is none of these, as the user wrote it;
 * NULL if all do. */
const char *tensor_rules_find_unknown_model(const struct tensor_rules *r, size_t n,
                                            const char *const *models);
/* The value of a ramp of n numbers at layer i of L (methods.md: s = t (n-1), linear between). */
double tensor_rules_layer_gradient(size_t n, const double *values, long layer, long layers);
void tensor_rules_free(struct tensor_rules *r);

/* The rule texts in the order given ("@file" expanded): for the history. */
size_t tensor_rules_count(const struct tensor_rules *r);
const char *tensor_rules_text(const struct tensor_rules *r, size_t i);

#endif
