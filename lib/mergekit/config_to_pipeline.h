/* Translates a merge configuration to a pipeline of filters. */
#ifndef TV_CONFIG_TO_PIPELINE_H
#define TV_CONFIG_TO_PIPELINE_H

#include "translated_config.h"

/* Fills *m with the pipeline that writes `out`; it borrows the configuration and belongs to `a`.
 * Warnings are printed to standard error, prefixed with the command's name `tool`. */
int config_to_pipeline(struct translated_config *m, const struct merge_config_file *f,
                       const char *out, const struct translation_options *o, const char *tool,
                       struct arena *a, struct error *e);

#endif
