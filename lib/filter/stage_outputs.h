/* The files that the stages of a pipeline write under names from the command line: two of them must
 * not have the same name. */
#ifndef TV_STAGE_OUTPUTS_H
#define TV_STAGE_OUTPUTS_H

#include "stage.h"

/* An error if two of the stages' outputs, or one of them and the `report` (NULL: none), are the
 * same file, or if one is in the folder that another replaces. Pipes and devices may be given
 * twice. */
int stage_outputs_check_distinct(const struct stage *const *stages, size_t n, const char *report,
                                 struct error *e);

#endif
