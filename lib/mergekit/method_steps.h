/* What the methods are as pipelines: filters with the parameters that a configuration gives. */
#ifndef TV_METHOD_STEPS_H
#define TV_METHOD_STEPS_H

#include "pipeline_builder.h"

/* From task vectors or weights of the models of a section to their merge: adds the method's filters
 * to the section's line. */
int method_steps_add(const struct slice_context *p);

#endif
