/* tv moe: a mixture of experts according to a mergekit-moe configuration. */
#ifndef TV_TV_MOE_H
#define TV_TV_MOE_H

#include "filter.h"

/* argv[0] is the command; returns the exit status. `filters` are all filters, ended by NULL. */
int tv_moe_main(int argc, char **argv, const struct filter *const *filters);
/* tv from-yaml for such a configuration: prints the pipeline. */
int tv_moe_print_main(int argc, char **argv);

#endif
