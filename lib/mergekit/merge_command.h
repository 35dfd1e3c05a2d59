/* The common part of tv merge and tv from-yaml: the parsed command line, and the pipeline
 * translated from the configuration. A command owns both until merge_command_finish. */
#ifndef TV_MERGE_COMMAND_H
#define TV_MERGE_COMMAND_H

#include "merge_options.h"

struct merge_command {
    struct stage *stage;
    const struct merge_options *options;
    const char *out;
    struct translated_config merge;
    struct arena a;
};

/* Parses the command line and the configuration. Returns 0, or prints what is wrong and returns the
 * exit status; merge_command_finish must follow either way. */
int merge_command_start(struct merge_command *c, const struct filter *descriptor, int argc,
                        char **argv, bool out_is_required);
/* Prints the error, unless its stage has printed it, and returns `status`. */
int merge_command_fail(const struct merge_command *c, const struct error *e, int status);
/* Frees the command and returns `status`. */
int merge_command_finish(struct merge_command *c, int status);

#endif
