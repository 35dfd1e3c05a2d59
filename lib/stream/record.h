/* The records of a stream, between bytes and structs (share/stream.md, "Records"). The only module
 * that knows msgpack. Decoded things live in the arena they were decoded into. */
#ifndef TV_RECORD_H
#define TV_RECORD_H

#include "header.h"

#include <stdio.h>

#define RECORD_MAGIC "TVS1"
#define RECORD_MAX   ((size_t)256 << 20) /* bytes of one map */

/* What ends a stream, or a tensor in it. */
struct trailer {
    bool has_checksum;
    uint64_t checksum;
};

struct end {
    uint64_t tensors, payload_bytes;
    bool hash; /* a hash of the stream follows */
    /* Full hashes of the models read: models[i] (a name) has hashes[i]. */
    size_t n_hashes;
    const char **models;
    const uint64_t *hashes;
};

enum record_type { RECORD_HEADER, RECORD_TENSOR, RECORD_TRAILER, RECORD_END, RECORD_ERROR };

/* Append to `b` the encoded map (without the length before it). */
void record_encode_header(struct bytes *b, const struct header *h);
void record_encode_tensor(struct bytes *b, const struct tensor *t);
void record_encode_trailer(struct bytes *b, const struct trailer *t);
void record_encode_end(struct bytes *b, const struct end *end);
void record_encode_error(struct bytes *b, const char *stage, const char *sentence);
/* Append the heads alone. */
void record_encode_int(struct bytes *b, uint64_t value);
void record_encode_bin_head(struct bytes *b, uint32_t size);
void record_encode_hash(struct bytes *b, uint64_t hash); /* a bin of 8 bytes */
void record_encode_magic(struct bytes *b);

/* Bytes of the head (1 to 9) that starts with `first`; 0 if it starts neither a non-negative
 * integer nor a bin. And its value, once all its bytes are there. */
size_t record_head_length(unsigned char first, bool *is_bin);
uint64_t record_head_value(const unsigned char *head);

/* Which record a map of `size` bytes is; -1 if it is none that this version knows or the map does
 * not fill exactly `size` bytes. */
int record_decode_type(const unsigned char *map, size_t size, struct error *e);
int record_decode_header(const unsigned char *map, size_t size, struct header *h, struct error *e);
/* `h` says which models there are. */
int record_decode_tensor(const unsigned char *map, size_t size, const struct header *h,
                         struct arena *a, struct tensor *t, struct error *e);
int record_decode_trailer(const unsigned char *map, size_t size, struct trailer *t,
                          struct error *e);
int record_decode_end(const unsigned char *map, size_t size, struct arena *a, struct end *end,
                      struct error *e);
/* Any encoded map as one line of JSON, bins as hexadecimal text. */
void record_print_json(FILE *out, const unsigned char *map, size_t size);
/* Stage and sentence of an error record, into the arena. */
int record_decode_error(const unsigned char *map, size_t size, struct arena *a, const char **stage,
                        const char **sentence, struct error *e);

#endif
