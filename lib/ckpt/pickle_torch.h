/* The objects that torch pickles: storages, tensors, parameters, sizes. Their arguments are those
 * of torch/_utils.py. */
#ifndef TV_PICKLE_TORCH_H
#define TV_PICKLE_TORCH_H

#include "pickle_stack.h"

/* BINPERSID: replaces a persistent id, ('storage', FloatStorage, '0', 'cpu', 6), by a storage. */
int pickle_torch_push_storage(struct pickle *p, struct error *e);
/* REDUCE and NEWOBJ: replaces a global and the tuple of its arguments by the object that the global
 * makes of them. */
int pickle_torch_call_global(struct pickle *p, struct error *e);

#endif
