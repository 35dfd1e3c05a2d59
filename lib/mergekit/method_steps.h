/* The filters of each merge method. */
#ifndef TV_METHOD_STEPS_H
#define TV_METHOD_STEPS_H

#include "slice_context.h"

/* Adds the filters that merge the models of a slice. The slice's pipeline outputs their weights or
 * task vectors before, and the merged weights or task vector afterwards. */
int method_steps_add(const struct slice_context *s);

#endif
