/* JSON from and of untrusted text: the headers of weight files, the indexes of shards, names. */
#ifndef TV_STRICT_JSON_H
#define TV_STRICT_JSON_H

#include "error.h"

#include <jansson.h>

/* Parses the JSON object in `size` bytes. Duplicate keys, NUL in a string, nesting above 64 levels,
 * more than 4 million values, and objects that would take more than 20 times `size` of memory are
 * errors; the message begins with `file` and calls the text `what`. The caller releases the object
 * with json_decref. */
json_t *strict_json_parse(const char *file, const char *what, const unsigned char *bytes,
                          size_t size, struct error *e);

/* A JSON string of text that may not be UTF-8: then bytes above 127 become '?'. */
json_t *strict_json_string(const char *text);

#endif
