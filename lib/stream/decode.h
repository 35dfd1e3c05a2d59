/* Bytes as records. Decoded things live in the arena that they were decoded into. */
#ifndef TV_DECODE_H
#define TV_DECODE_H

#include "record.h"

#include <stdio.h>

/* Which record a map of `size` bytes is; -1 if it is none that this version knows or the map does
 * not fill exactly `size` bytes. */
int decode_record_type(const unsigned char *map, size_t size, struct error *e);
int decode_header(const unsigned char *map, size_t size, struct header *h, struct error *e);
/* `h` says which models there are. */
int decode_tensor(const unsigned char *map, size_t size, const struct header *h, struct arena *a,
                  struct tensor *t, struct error *e);
int decode_trailer(const unsigned char *map, size_t size, struct trailer *t, struct error *e);
int decode_end(const unsigned char *map, size_t size, struct arena *a, struct end_record *end,
               struct error *e);
/* Stage and sentence of an error record, into the arena. */
int decode_error(const unsigned char *map, size_t size, struct arena *a, const char **stage,
                 const char **sentence, struct error *e);
/* Any encoded map as one line of JSON, bins as hexadecimal text. */
void record_json_print(FILE *out, const unsigned char *map, size_t size);

#endif
