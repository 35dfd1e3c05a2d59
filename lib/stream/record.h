/* The records of a stream (share/stream.md, "Records") and the low-level structure of their bytes.
 * encode.h and decode.h convert between bytes and structs. */
#ifndef TV_RECORD_H
#define TV_RECORD_H

#include "header.h"

#define RECORD_MAGIC     "TVS1"
#define RECORD_MAX       ((size_t)256 << 20) /* maximum bytes of a map */
#define RECORD_DEPTH_MAX 31

/* Ends a tensor. */
struct trailer {
    bool has_checksum;
    uint64_t checksum;
};

/* Ends a stream. */
struct end_record {
    uint64_t tensors, payload_bytes;
    bool has_hash; /* the hash of the stream follows */
    /* Full hashes of the models that were read: hashes[i] is that of the model hashed_models[i]. */
    size_t n_hashes;
    const char **hashed_models;
    const uint64_t *hashes;
};

enum record_type { RECORD_HEADER, RECORD_TENSOR, RECORD_TRAILER, RECORD_END, RECORD_ERROR };

/* Length in bytes (1 to 9) of the header of an integer or a bin, given its first byte; 0 if the
 * byte starts neither. The header's value is the integer, or the number of bytes of the bin;
 * UINT64_MAX for a negative integer. */
size_t record_head_length(unsigned char first, bool *is_bin);
uint64_t record_head_value(const unsigned char *head);

/* True if the bytes are exactly one msgpack object, nested at most RECORD_DEPTH_MAX deep, whose
 * counts and lengths fit into `size` bytes. Check this before unpacking: the unpacker allocates
 * memory for any count. */
bool record_is_well_formed(const unsigned char *map, size_t size);
/* The integer of n bytes, most significant first. */
uint64_t record_read_big_endian(const unsigned char *p, size_t n);

#endif
