/* The command tv tune: chooses numbers in a pipeline by the loss of the merged model. */
#ifndef TV_TV_TUNE_H
#define TV_TV_TUNE_H

#include "filter.h"

/* `filters`: all filters, ended by NULL. Returns the exit status. */
int tv_tune_main(int argc, char **argv, const struct filter *const *filters);

#endif
