/* The tensors of a torch file as stored tensors: views of the storages that its pickle describes
 * and its records hold, in the state dict (state_dict.h). */
#ifndef TV_TORCH_TENSORS_H
#define TV_TORCH_TENSORS_H

#include "pickle_value.h"
#include "stored_tensors.h"

#define TORCH_TENSORS_MAX_PICKLE (64 << 20) /* bytes */

/* Sets a storage's data, of which `bytes` are there. An error if it has more elements. */
int torch_tensors_set_storage(const char *file, struct pickle_storage *storage,
                              const unsigned char *data, uint64_t bytes, struct error *e);
/* Adds every tensor of the state dict in `whole`, whose storages have their data, and sets the key
 * of the dict. Notes the values that are not tensors. */
int torch_tensors_add_dict(struct stored_tensors *s, struct pickle_value *whole, struct error *e);

#endif
