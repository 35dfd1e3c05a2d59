/* Records as bytes. */
#ifndef TV_ENCODE_H
#define TV_ENCODE_H

#include "record.h"

/* Append to `b` the encoded map (without the length before it). */
void encode_header(struct bytes *b, const struct header *h);
void encode_tensor(struct bytes *b, const struct tensor *t);
void encode_trailer(struct bytes *b, const struct trailer *t);
void encode_end(struct bytes *b, const struct end_record *end);
void encode_error(struct bytes *b, const char *stage, const char *sentence);
/* Append the heads alone. */
void encode_uint(struct bytes *b, uint64_t value);
void encode_bin_head(struct bytes *b, uint32_t size);
void encode_hash(struct bytes *b, uint64_t hash); /* a bin of 8 bytes */
void encode_magic(struct bytes *b);

/* Appends an object that msgpack has decoded. */
struct msgpack_object;
void encode_msgpack_object(struct bytes *b, const struct msgpack_object *object);

#endif
