/* safetensors: eight bytes of length, a JSON header, data. Format: README.md and
 * safetensors/src/tensor.rs of huggingface/safetensors, with duplicate keys refused as well. */
#ifndef TV_SAFETENSORS_H
#define TV_SAFETENSORS_H

#include "weights.h"

/* Adds every tensor of a file's `size` bytes to w. Refuses what the reference refuses: holes,
 * overlaps, bytes that belong to no tensor, sizes that disagree with the shape. */
int safetensors_read(struct weights *w, const unsigned char *bytes, size_t size, struct error *e);

#endif
