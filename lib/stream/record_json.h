/* Printing a record as JSON. */
#ifndef TV_RECORD_JSON_H
#define TV_RECORD_JSON_H

#include <stddef.h>
#include <stdio.h>

/* Prints an encoded map of `size` bytes as one line of JSON; bins become hexadecimal strings. */
void record_json_print(FILE *out, const unsigned char *map, size_t size);

#endif
