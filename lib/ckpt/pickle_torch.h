/* The objects that torch pickles: storages, tensors, parameters, sizes, dicts. Their arguments are
 * those of torch/_utils.py and torch/_tensor.py. Everything else becomes an opaque object. */
#ifndef TV_PICKLE_TORCH_H
#define TV_PICKLE_TORCH_H

#include "pickle_stack.h"

/* BINPERSID: replaces a persistent id, ('storage', FloatStorage, '0', 'cpu', 6), by a storage. A
 * class with its source code, ('module', class, file, code), is replaced by the class. */
int pickle_torch_push_storage(struct pickle *p, struct error *e);
/* REDUCE and NEWOBJ: replaces a class or function and the tuple of its arguments by the object that
 * it makes of them. */
int pickle_torch_call_global(struct pickle *p, struct error *e);

#endif
