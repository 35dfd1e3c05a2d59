/* Decoding the records of a stream from bytes. A decoded value lives in the arena that it was
 * decoded into (a header in its own). All functions check what share/stream.md requires of a
 * record, and return -1 with one sentence if the record violates it. */
#ifndef TV_DECODE_H
#define TV_DECODE_H

#include "record.h"

/* The type of the record in a map of `size` bytes (enum record_type). -1 if this version does not
 * support it or the map does not have exactly `size` bytes. */
int decode_record_type(const unsigned char *map, size_t size, struct error *e);
int decode_header(const unsigned char *map, size_t size, struct header *h, struct error *e);
/* `h` is the header of the stream. */
int decode_tensor_record(const unsigned char *map, size_t size, const struct header *h,
                         struct arena *a, struct tensor *t, struct error *e);
int decode_tensor_trailer(const unsigned char *map, size_t size, struct trailer *t,
                          struct error *e);
int decode_end_record(const unsigned char *map, size_t size, struct arena *a,
                      struct end_record *end, struct error *e);
/* Stage and sentence of an error record. */
int decode_error_record(const unsigned char *map, size_t size, struct arena *a, const char **stage,
                        const char **sentence, struct error *e);

#endif
