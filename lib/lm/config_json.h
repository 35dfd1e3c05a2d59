/* Values of config.json, by key: whole numbers in a range, flags, texts. A null is a missing key,
 * for which there is a default. A source borrows its object. */
#ifndef TV_CONFIG_JSON_H
#define TV_CONFIG_JSON_H

#include "error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define CONFIG_JSON_MAX_LAYERS 100000
#define CONFIG_JSON_MAX_SIZE                                                                       \
    ((json_int_t)1 << 24) /* of one dimension: no product of two is too large                      \
                           */

/* The object that is read, and what sentences call the file. */
struct source {
    const char *file;
    const json_t *object;
};

/* NULL where the key is missing or null. */
const json_t *config_json_value(const struct source *s, const char *key);
/* "FILE: KEY is not WHAT". Returns -1. */
int config_json_error(const struct source *s, const char *key, const char *what, struct error *e);

/* A whole number, 0 to `most`; `missing` where the key is not given. */
int config_json_read_count(const struct source *s, const char *key, json_int_t most, size_t missing,
                           size_t *to, struct error *e);
/* The same, but 0 is no size. CONFIG_JSON_REQUIRED: the key must be there. */
#define CONFIG_JSON_REQUIRED 0
int config_json_read_size(const struct source *s, const char *key, json_int_t most, size_t missing,
                          size_t *to, struct error *e);
/* Above 0. */
int config_json_read_positive(const struct source *s, const char *key, double missing, double *to,
                              struct error *e);
int config_json_read_flag(const struct source *s, const char *key, bool missing, bool *to,
                          struct error *e);
/* NULL where the key is missing or no text. */
const char *config_json_string(const struct source *s, const char *key);
/* A text that must be one of `known`, ended by NULL: its index. `missing`: the index where the key
 * is not given. */
int config_json_read_choice(const struct source *s, const char *key, const char *const *known,
                            size_t missing, size_t *to, struct error *e);

#endif
