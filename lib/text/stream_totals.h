/* The totals of a stream: how many tensors, vectors, elements and bytes of payload its manifest
 * lists. check and tv-view print them. */
#ifndef TV_STREAM_TOTALS_H
#define TV_STREAM_TOTALS_H

#include "header.h"

struct stream_totals {
    uint64_t tensors, vectors;
    uint64_t elements;           /* of all vectors */
    uint64_t elements_per_model; /* of all tensors, counted once */
    uint64_t payload_bytes;
};

struct stream_totals stream_totals_count(const struct header *h);
/* Bytes of payload of one tensor. */
uint64_t stream_totals_tensor_bytes(const struct tensor *t);
/* Prints "2 tensors, 4 vectors, 24 elements, 96 bytes of payload" to standard output, or with
 * `per_model` "... 12 elements per model, ...". */
void stream_totals_print(const struct stream_totals *t, bool per_model);

#endif
