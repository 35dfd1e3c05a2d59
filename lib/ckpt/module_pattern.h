/* The patterns of adapter_config.json that choose modules: Python regular expressions K, of which
 * `^(.*\.)?(K)$` must match the module's name. Names, `.`, classes, groups, alternatives, `\d` and
 * `\w` are supported. Time is in proportion to the lengths of the expression and the name.
 *
 * A module_pattern owns itself until module_pattern_free. */
#ifndef TV_MODULE_PATTERN_H
#define TV_MODULE_PATTERN_H

#include "error.h"

#include <stdbool.h>

struct module_pattern;

/* NULL on error: the expression is invalid, or uses what is not supported. `what` names it. */
struct module_pattern *module_pattern_new(const char *expression, const char *what,
                                          struct error *e);
bool module_pattern_matches(const struct module_pattern *p, const char *module);
void module_pattern_free(struct module_pattern *p);

#endif
