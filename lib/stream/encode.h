/* Encoding the records of a stream. All functions append to `b`. */
#ifndef TV_ENCODE_H
#define TV_ENCODE_H

#include "record.h"

/* The encoded map of a record, without the length before it. */
void encode_header(struct bytes *b, const struct header *h);
void encode_tensor_record(struct bytes *b, const struct tensor *t);
void encode_tensor_trailer(struct bytes *b, const struct trailer *t);
void encode_end_record(struct bytes *b, const struct end_record *end);
void encode_error_record(struct bytes *b, const char *stage, const char *sentence);
/* Single objects: an integer, the header of a bin of `size` bytes, a bin of 8 bytes, the magic. */
void encode_uint(struct bytes *b, uint64_t value);
void encode_bin_header(struct bytes *b, uint32_t size);
void encode_hash(struct bytes *b, uint64_t hash);
void encode_magic(struct bytes *b);

/* An object that msgpack has unpacked. */
struct msgpack_object;
void encode_msgpack_object(struct bytes *b, const struct msgpack_object *object);

#endif
