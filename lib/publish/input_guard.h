/* Refuses a target that --force would replace although it is, or contains, an input of the run. */
#ifndef TV_INPUT_GUARD_H
#define TV_INPUT_GUARD_H

#include "header.h"

/* Adds a model that is about to be read: its file, or its folder and the files in it. */
void input_guard_add_model(const char *operand);
/* Call it when the inputs are open. Files that this process has opened are recognized
 * by device and inode; with `by_fingerprint` a target that has the fingerprint of a model in the
 * header is an input too, because another process reads the models. */
int input_guard_check(const char *target, bool force, const struct header *h, bool by_fingerprint,
                      struct error *e);

#endif
