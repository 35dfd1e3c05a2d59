/* Typed, checked values of config.json by key. A null value counts as a missing key, for which each
 * function takes a default. A config_object borrows its JSON object and file name. Functions that
 * can fail return 0, or -1 with an error that names file, key, value and what was expected. */
#ifndef TV_CONFIG_JSON_H
#define TV_CONFIG_JSON_H

#include "error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define CONFIG_JSON_MAX_LAYERS 100000
/* The largest size of one dimension; a product of two fits a size_t. */
#define CONFIG_JSON_MAX_SIZE ((json_int_t)1 << 24)

/* config.json or an object in it, and the file's name for errors. */
struct config_object {
    const char *file;
    const json_t *object;
};

/* NULL if the key is missing or null. */
const json_t *config_json_value(const struct config_object *c, const char *key);
/* NULL if the key is missing, null or not a string. */
const char *config_json_string(const struct config_object *c, const char *key);

/* Sets "FILE: KEY is VALUE; expected EXPECTED" and returns -1. */
int config_json_error(const struct config_object *c, const char *key, const char *expected,
                      struct error *e);

/* A whole number, 0 to `max`. */
int config_json_read_count(const struct config_object *c, const char *key, json_int_t max,
                           size_t missing, size_t *to, struct error *e);
/* A whole number, 1 to `max`. With CONFIG_JSON_REQUIRED as `missing` the key must be there. */
#define CONFIG_JSON_REQUIRED 0
int config_json_read_size(const struct config_object *c, const char *key, json_int_t max,
                          size_t missing, size_t *to, struct error *e);
/* A finite number above 0. */
int config_json_read_positive(const struct config_object *c, const char *key, double missing,
                              double *to, struct error *e);
int config_json_read_flag(const struct config_object *c, const char *key, bool missing, bool *to,
                          struct error *e);
/* A string that is one of `choices`, a list ended by NULL; *to becomes its index. */
int config_json_read_choice(const struct config_object *c, const char *key,
                            const char *const *choices, size_t missing, size_t *to,
                            struct error *e);

#endif
