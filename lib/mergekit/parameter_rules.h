/* A method's parameters as rules and options of the filters of a slice: looks values up in the
 * configuration and adds them to commands.
 * The functions return -1 with the builder's error set. */
#ifndef TV_PARAMETER_RULES_H
#define TV_PARAMETER_RULES_H

#include "parameter_lookup.h"
#include "slice_context.h"

/* A global parameter that must have one value for all tensors. */
int parameter_rules_find_number(const struct slice_context *s, const char *name, double *x);

/* The target of rules: a new command `filter`, or the last one if it is NULL; each rule follows
 * `option`, or is an operand if that is NULL. Nothing is added if all values equal `neutral`, under
 * which the filter has no effect; NAN: rules are always added. */
struct rule_target {
    const char *filter, *option;
    double neutral;
};

/* The rules of a parameter that each model may have: one set for all models if their values are
 * equal, else one for each. *added, unless NULL, is set if there are any. */
int parameter_rules_add_per_model(const struct slice_context *s, const char *name,
                                  struct rule_target to, bool *added);
/* The rules of a global parameter. */
int parameter_rules_add_global(const struct slice_context *s, const char *name,
                               struct rule_target to);

/* A flag, which chooses between two words of an option; it may differ by tensor. */
struct flag_choice {
    struct parameter_value value;
    const char *words[2]; /* for false and true */
};

/* Looks the flag `name` up. */
int parameter_rules_find_flag(const struct slice_context *s, const char *name, const char *if_false,
                              const char *if_true, struct flag_choice *flag);
/* The word that holds for all tensors; NULL if they differ. */
const char *parameter_rules_constant_flag(const struct flag_choice *flag);
/* Can the flag have the value? */
bool parameter_rules_flag_may_be(const struct flag_choice *flag, bool value);
/* Adds OPTION WORD for the flag to the last command, or if the words depend on the tensor the rules
 * OPTION PATTERN=WORD. If `option` ends with '=', option and word are one word. Nothing is added if
 * `neutral`, the option's default, holds for all tensors. */
void parameter_rules_add_flag(const struct slice_context *s, const struct flag_choice *flag,
                              const char *option, const char *neutral);

#endif
