/* The command tv verify: recomputes a recorded merge and compares the result with the merged model.
 */
#ifndef TV_TV_VERIFY_H
#define TV_TV_VERIFY_H

#include "filter.h"

/* `filters`: all filters, ended by NULL. Returns the exit status: 0 equal, 1 different, 2 trouble.
 */
int tv_verify_main(int argc, char **argv, const struct filter *const *filters);

#endif
