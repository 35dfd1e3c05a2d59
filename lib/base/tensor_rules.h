/* Rules: numbers that may differ by model, tensor and layer. One rule is "0.3", "math=0.3" (a
 * model), "math/mlp.*=0.5" (its tensors by name) or "/norm.*=0" (tensors of any model). In place of
 * the number it may have a layer gradient "[0.2,0.8]" (mergekit's gradient: numbers that are
 * interpolated over the layers). "@file" names a file with one rule per line ('#' starts a comment
 * line). The last rule that matches applies.
 *
 * Every number must lie in the range that the option gives. The numbers of a layer gradient may lie
 * outside; the interpolated value is clamped to an end that belongs to the range. The text before
 * the last '=' is split at the first '/' without a backslash. The model part is a glob; it also
 * matches a model of exactly that name, so that a name with brackets matches itself. A tensor_rules
 * owns its text until tensor_rules_free. */
#ifndef TV_TENSOR_RULES_H
#define TV_TENSOR_RULES_H

#include "error.h"
#include "number.h"

#include <stdbool.h>
#include <stddef.h>

/* Starts zeroed. */
struct tensor_rules {
    size_t n;
    struct tensor_rule *items;
    size_t n_buckets;       /* of a hash table of the rules, by names without wildcards */
    size_t *last_in_bucket; /* 1 + the rule; 0: the bucket is empty */
};

/* Adds the rule (or the file of rules) `text`. Messages begin with `what`, the name of the option.
 * A rule that would override all earlier ones is an error. After an error the rules are unchanged.
 */
int tensor_rules_parse_and_add(struct tensor_rules *r, const char *text, const char *what,
                               const struct range *range, struct error *e);
/* Adds the rule `text` of an option that takes one of `choices` ("none|all"), in place of a number:
 * the rule's value is the index of its choice. A list of choices over the layers, "[all,none]",
 * does not interpolate: a layer at s = (n - 1) i / (L - 1) gets choice floor(s) (mergekit's
 * gradient of booleans). */
int tensor_rules_add_choice(struct tensor_rules *r, const char *text, const char *what,
                            const char *choices, struct error *e);
/* The index of `text` among the choices "a|b|c"; -1 if it is not among them. */
int tensor_rules_find_choice(const char *choices, const char *text);
/* Adds the rule TEXT=1, for a selection without numbers: "math", "math/mlp.*", "/norm.*". */
int tensor_rules_add_selector(struct tensor_rules *r, const char *text, const char *what,
                              struct error *e);
/* Finds the value for a model's tensor in layer `layer` of `layers`; false if no rule matches.
 * Layer -1 (outside the layers) gets the first number of a layer gradient; a slice of one layer
 * gets the last. Globs match the name `tensor`. If `model` is NULL, rules that name a model do not
 * match ('*' names none). A layer gradient that crosses an open end of the range gives a value
 * outside it. */
bool tensor_rules_find_value(const struct tensor_rules *r, const char *model, const char *tensor,
                             long layer, long layers, double *value);
/* True if a rule gives this value to some layer, whether or not it applies to any tensor. */
bool tensor_rules_contain_value(const struct tensor_rules *r, double value);
/* True if rule i is limited to some tensors. */
bool tensor_rules_has_tensor_pattern(const struct tensor_rules *r, size_t i);
/* Sets matches[i] of all rules that match this tensor, also of those that a later one overrides. */
void tensor_rules_mark_matches(const struct tensor_rules *r, const char *model, const char *tensor,
                               bool *matches);
/* The text of the first rule whose model part matches none of these n models; NULL if there is
 * none. */
const char *tensor_rules_find_unknown_model(const struct tensor_rules *r, size_t n,
                                            const char *const *models);
/* The value of a layer gradient of n numbers at layer i of L: linear interpolation at
 * s = (n - 1) i / (L - 1). */
double tensor_rules_interpolate_gradient(size_t n, const double *values, long layer, long layers);
void tensor_rules_free(struct tensor_rules *r);

/* The texts of the rules in the order given, with "@file" expanded, for the history. */
size_t tensor_rules_count(const struct tensor_rules *r);
const char *tensor_rules_rule_text(const struct tensor_rules *r, size_t i);

#endif
