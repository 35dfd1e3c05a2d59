/* safetensors: eight bytes of length, a JSON header, data. Format: README.md and
 * safetensors/src/tensor.rs of huggingface/safetensors, with duplicate keys refused as well. */
#ifndef TV_SAFETENSORS_H
#define TV_SAFETENSORS_H

#include "stored_tensors.h"

/* Adds every tensor of a file's `size` bytes to w. Refuses what the reference refuses: holes,
 * overlaps, bytes that belong to no tensor, sizes that disagree with the shape. */
int safetensors_list_tensors(struct stored_tensors *w, const unsigned char *bytes, size_t size,
                             struct error *e);

#endif
