/* expert_merging and expert_merging_pp, which mergekit has not: methods whose parameters are the
 * options of calibrate, with '_' in place of '-'. */
#ifndef TV_CALIBRATED_H
#define TV_CALIBRATED_H

#include "build.h"

/* Adds calibrate and combine to the section's line. */
int calibrated_steps(const struct section *p);
/* Are these parameters, of a model or of more, options that calibrate has, with values that it
 * takes? */
int calibrated_check(const struct build *b, const struct settings *s, bool of_model);
bool calibrated_is_parameter(const char *name);

#endif
