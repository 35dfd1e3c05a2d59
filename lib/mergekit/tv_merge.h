/* The command tv merge: runs a merge configuration, or (--check) checks whether it would work. */
#ifndef TV_TV_MERGE_H
#define TV_TV_MERGE_H

#include "filter.h"

/* `filters`: all filters, ended by NULL. Returns the exit status. */
int tv_merge_main(int argc, char **argv, const struct filter *const *filters);

#endif
