/* expert_merging and expert_merging_pp, which mergekit has not: methods whose parameters are the
 * options of calibrate, with '_' in place of '-'. */
#ifndef TV_EXPERT_MERGING_H
#define TV_EXPERT_MERGING_H

#include "pipeline_builder.h"

/* Adds calibrate and combine to the section's line. */
int expert_merging_add_steps(const struct slice_context *p);
/* Are these parameters, of a model or of more, options that calibrate has, with values that it
 * takes? */
int expert_merging_check_parameters(const struct pipeline_builder *b, const struct settings *s,
                                    bool of_model);
bool expert_merging_is_parameter(const char *name);

#endif
