/* What the records of a stream are (share/stream.md, "Records"), and how their bytes are framed;
 * encode.h and decode.h go between bytes and structs. */
#ifndef TV_RECORD_H
#define TV_RECORD_H

#include "header.h"

#define RECORD_MAGIC     "TVS1"
#define RECORD_MAX       ((size_t)256 << 20) /* bytes of one map */
#define RECORD_DEPTH_MAX 31

/* What ends a stream, or a tensor in it. */
struct trailer {
    bool has_checksum;
    uint64_t checksum;
};

struct end_record {
    uint64_t tensors, payload_bytes;
    bool has_hash; /* a hash of the stream follows */
    /* Full hashes of the models read: models[i] (a name) has hashes[i]. */
    size_t n_hashes;
    const char **hashed_models;
    const uint64_t *hashes;
};

enum record_type { RECORD_HEADER, RECORD_TENSOR, RECORD_TRAILER, RECORD_END, RECORD_ERROR };

/* Bytes of the head (1 to 9) that starts with `first`; 0 if it starts neither a non-negative
 * integer nor a bin. And its value, once all its bytes are there. */
size_t record_head_length(unsigned char first, bool *is_bin);
uint64_t record_head_value(const unsigned char *head);

/* Is this exactly one msgpack object, whose counts and lengths fit into `size` bytes, nested at
 * most RECORD_DEPTH_MAX deep? The unpacker allocates what a count announces, so counts come first.
 */
bool record_is_well_formed(const unsigned char *map, size_t size);
/* The value of n bytes, the most significant first. */
uint64_t record_read_big_endian(const unsigned char *p, size_t n);

#endif
