/* Loader of pickles that hold a dict of tensors, as torch.save writes them, in protocols 2 to 5. It
 * executes nothing: the few classes and functions that torch.save writes for tensors are known by
 * name (pickle_globals.h), objects of any other are opaque. Opcodes: Lib/pickletools.py of CPython.
 */
#ifndef TV_PICKLE_H
#define TV_PICKLE_H

#include "pickle_stack.h"

/* Loads the pickle at p->position, which moves to the byte after it. Returns its object, NULL on
 * error. The object lives until pickle_free. */
struct pickle_value *pickle_load(struct pickle *p, struct error *e);
void pickle_free(struct pickle *p);

#endif
