/* Reader of safetensors files: eight bytes of header length, a JSON header, the data. Format:
 * README.md and safetensors/src/tensor.rs of huggingface/safetensors. Duplicate keys, which that
 * reference accepts, are an error here. */
#ifndef TV_SAFETENSORS_H
#define TV_SAFETENSORS_H

#include "stored_tensors.h"

#include <jansson.h>

/* Adds every tensor of a file of `size` bytes to `s`, and sets its header. Holes, overlaps, bytes
 * that belong to no tensor, and sizes that disagree with the shape are errors. */
int safetensors_list_tensors(struct stored_tensors *s, const unsigned char *bytes, size_t size,
                             struct error *e);

/* Reads the header's __metadata__, after the tensors were listed. 1: read; the caller drops the
 * reference. 0: there are none, and *metadata is NULL. -1: error. */
int safetensors_read_metadata(const struct stored_tensors *s, json_t **metadata, struct error *e);

#endif
