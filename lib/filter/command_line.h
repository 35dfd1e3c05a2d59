/* Parses the command line of a filter, with argp. */
#ifndef TV_COMMAND_LINE_H
#define TV_COMMAND_LINE_H

#include "filter.h"

/* A stage with the options and operands of argv, checked; defaults are filled in. Prints --help and
 * exits 0, or prints a usage error and exits 2. To be freed with stage_free. */
struct stage *command_line_parse(const struct filter *f, int argc, char **argv);

#endif
