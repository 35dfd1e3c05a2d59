/* The commands that take merge configurations: tv merge runs one, tv from-yaml prints it. */
#ifndef TV_TV_MERGE_H
#define TV_TV_MERGE_H

#include "filter.h"

/* `filters` are all there are, ended by NULL. Both return the exit status. */
int tv_merge_main(int argc, char **argv, const struct filter *const *filters);
int tv_from_yaml_main(int argc, char **argv);

#endif
