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

/* The length of the JSON header from the first eight bytes; one above the reference's limit is an
 * error. */
int safetensors_header_length(const char *file, const unsigned char *bytes, uint64_t *length,
                              struct error *e);
/* The same for a file that arrives through a pipe, from its JSON, which s->header and
 * s->header_size are: `data` is NULL, and *data_size is how many bytes must follow. */
int safetensors_list_piped_tensors(struct stored_tensors *s, uint64_t *data_size, struct error *e);
/* Reads the header's __metadata__, after the tensors were listed. 1: read; the caller drops the
 * reference. 0: there are none, and *metadata is NULL. -1: error. */
int safetensors_read_metadata(const struct stored_tensors *s, json_t **metadata, struct error *e);

#endif
