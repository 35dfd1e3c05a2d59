/* The weights that are recorded in a merged model (publish/used_weights.h), as `weigh` steps that
 * replace the calibration which learned them. They are untrusted. */
#ifndef TV_RECORDED_WEIGHTS_H
#define TV_RECORDED_WEIGHTS_H

#include "pipeline.h"

#include <jansson.h>

/* Appends commands that set the weights which the join after them has used. They read a temporary
 * file in the folder `spool`, which stays open. -1 if `weights` is NULL, not what pack writes, or
 * cannot be expressed. */
int recorded_weights_add_commands(const json_t *weights, struct pipeline *to, const char *spool,
                                  struct arena *a, struct error *e);

#endif
