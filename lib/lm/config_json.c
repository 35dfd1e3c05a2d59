#include "config_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const json_t *config_json_value(const struct config_object *c, const char *key)
{
    const json_t *value = json_object_get(c->object, key);
    return json_is_null(value) ? NULL : value;
}

const char *config_json_string(const struct config_object *c, const char *key)
{
    return json_string_value(config_json_value(c, key));
}

int config_json_error(const struct config_object *c, const char *key, const char *expected,
                      struct error *e)
{
    const json_t *value = config_json_value(c, key);
    char *text =
        value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    error_set(e, "%s: %s is %.60s; expected %s", c->file, key, text ? text : "missing", expected);
    free(text);
    return -1;
}

/* A whole number, `min` to `max`. */
static int read_whole_number(const struct config_object *c, const char *key, json_int_t min,
                             json_int_t max, size_t missing, size_t *to, struct error *e)
{
    const json_t *value = config_json_value(c, key);
    char expected[80];
    *to = missing;
    if (!value)
        return 0;
    json_int_t n = json_is_integer(value) ? json_integer_value(value) : -1;
    if (n >= min && n <= max) {
        *to = (size_t)n;
        return 0;
    }
    snprintf(expected, sizeof expected, "a whole number from %lld to %lld", (long long)min,
             (long long)max);
    return config_json_error(c, key, expected, e);
}

int config_json_read_count(const struct config_object *c, const char *key, json_int_t max,
                           size_t missing, size_t *to, struct error *e)
{
    return read_whole_number(c, key, 0, max, missing, to, e);
}

int config_json_read_size(const struct config_object *c, const char *key, json_int_t max,
                          size_t missing, size_t *to, struct error *e)
{
    if (missing == CONFIG_JSON_REQUIRED && !config_json_value(c, key))
        return error_set(e, "%s: %s is missing", c->file, key);
    return read_whole_number(c, key, 1, max, missing, to, e);
}

int config_json_read_positive(const struct config_object *c, const char *key, double missing,
                              double *to, struct error *e)
{
    const json_t *value = config_json_value(c, key);
    *to = missing;
    if (!value)
        return 0;
    *to = json_number_value(value);
    return json_is_number(value) && isfinite(*to) && *to > 0
               ? 0
               : config_json_error(c, key, "a positive number", e);
}

int config_json_read_flag(const struct config_object *c, const char *key, bool missing, bool *to,
                          struct error *e)
{
    const json_t *value = config_json_value(c, key);
    *to = value ? json_is_true(value) : missing;
    return !value || json_is_boolean(value) ? 0 : config_json_error(c, key, "true or false", e);
}

int config_json_read_choice(const struct config_object *c, const char *key,
                            const char *const *choices, size_t missing, size_t *to, struct error *e)
{
    const char *text = config_json_string(c, key);
    char expected[128] = "";
    *to = missing;
    if (!config_json_value(c, key))
        return 0;
    for (size_t i = 0; choices[i]; i++) {
        size_t n = strlen(expected);
        snprintf(expected + n, sizeof expected - n, "%s%s", i ? " or " : "", choices[i]);
        if (text && strcmp(text, choices[i]) == 0) {
            *to = i;
            return 0;
        }
    }
    return config_json_error(c, key, expected, e);
}
