/* The methods expert_merging and expert_merging_pp, which mergekit does not have. Their parameters
 * are the options of calibrate, with '_' in place of '-', and `clean`, a filter before calibrate.
 */
#ifndef TV_EXPERT_MERGING_STEPS_H
#define TV_EXPERT_MERGING_STEPS_H

#include "slice_context.h"

/* Is it the name of a parameter? */
bool expert_merging_steps_is_parameter(const char *name);
/* Checks names and values of parameters, of one model (`of_model`) or of the whole merge. */
int expert_merging_steps_check_parameters(const struct pipeline_builder *b,
                                          const struct config_parameters *parameters,
                                          bool of_model);
/* Adds the filter of `clean`, calibrate and combine to the slice's pipeline. */
int expert_merging_steps_add(const struct slice_context *s);

#endif
