/* The command tv from-yaml: prints a merge configuration as a pipeline. */
#ifndef TV_TV_FROM_YAML_H
#define TV_TV_FROM_YAML_H

#include "filter.h"

/* Returns the exit status. */
int tv_from_yaml_main(int argc, char **argv, const struct filter *const *filters);

#endif
