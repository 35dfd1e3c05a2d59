/* Loader of pickles that hold a dict of tensors, as torch.save writes them. It executes nothing:
 * the few globals that torch.save writes are known by name (pickle_globals.h), any other is an
 * error. The opcodes are those of torch/_weights_only_unpickler.py. */
#ifndef TV_PICKLE_H
#define TV_PICKLE_H

#include "pickle_stack.h"

/* Loads the pickle at p->position, which moves to the byte after it. Returns its object, NULL on
 * error. The object lives until pickle_free. */
struct pickle_value *pickle_load(struct pickle *p, struct error *e);
void pickle_free(struct pickle *p);

#endif
