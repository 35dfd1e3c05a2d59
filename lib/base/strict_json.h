/* JSON from strangers: the headers of weight files and the indexes of shards. */
#ifndef TV_STRICT_JSON_H
#define TV_STRICT_JSON_H

#include "error.h"

#include <jansson.h>

/* The JSON object in `size` bytes. Duplicate keys, NUL in a string, deep nesting and more values
 * than a model has are refused; the sentence begins with `file` and calls the text `what`. The
 * caller drops the reference. */
json_t *strict_json_parse(const char *file, const char *what, const unsigned char *bytes,
                          size_t size, struct error *e);

#endif
