/* The common part of tv merge and tv from-yaml: the parsed command line, and the pipeline
 * translated from the configuration. A command owns both until config_command_free. */
#ifndef TV_CONFIG_COMMAND_H
#define TV_CONFIG_COMMAND_H

#include "merge_options.h"

struct config_command {
    struct stage *stage;
    const struct merge_options *options;
    const char *out;
    struct translated_config merge;
    struct arena a;
};

/* Parses the command line and the configuration. Returns 0, or prints what is wrong and returns the
 * exit status; config_command_free must follow either way. */
int config_command_parse_and_translate(struct config_command *c, const struct filter *descriptor,
                                       int argc, char **argv, bool out_is_required);
/* Prints the error, unless its stage has printed it, and returns `status`. */
int config_command_print_error(const struct config_command *c, const struct error *e, int status);
/* "1.2 GB" */
const char *config_command_format_size(uint64_t bytes, struct arena *a);
/* Frees the command and returns `status`. */
int config_command_free(struct config_command *c, int status);

#endif
