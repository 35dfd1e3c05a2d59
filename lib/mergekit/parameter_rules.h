/* A method's parameters as rules and options of the filters of a slice: looks values up in the
 * configuration and adds them to commands.
 * The functions return -1 with the builder's error set. */
#ifndef TV_PARAMETER_RULES_H
#define TV_PARAMETER_RULES_H

#include "slice_context.h"

/* A global parameter that must have one value for all tensors. */
int parameter_rules_find_number(const struct slice_context *s, const char *name, double *x);
/* The same for a flag: 0 or 1. */
int parameter_rules_find_flag(const struct slice_context *s, const char *name, bool *flag);

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

#endif
