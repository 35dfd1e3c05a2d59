#include "config_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const json_t *config_json_value(const struct source *s, const char *key)
{
    const json_t *value = json_object_get(s->object, key);
    return json_is_null(value) ? NULL : value;
}

int config_json_error(const struct source *s, const char *key, const char *what, struct error *e)
{
    return error_set(e, "%s: %s is not %s", s->file, key, what);
}

int config_json_read_count(const struct source *s, const char *key, json_int_t most, size_t missing,
                           size_t *to, struct error *e)
{
    const json_t *value = config_json_value(s, key);
    *to = missing;
    if (!value)
        return 0;
    json_int_t n = json_is_integer(value) ? json_integer_value(value) : -1;
    if (n < 0 || n > most)
        return config_json_error(s, key, "a whole number in a sensible range", e);
    *to = (size_t)n;
    return 0;
}

int config_json_read_size(const struct source *s, const char *key, json_int_t most, size_t missing,
                          size_t *to, struct error *e)
{
    if (missing == CONFIG_JSON_REQUIRED && !config_json_value(s, key))
        return error_set(e, "%s: %s is missing", s->file, key);
    if (config_json_read_count(s, key, most, missing, to, e))
        return -1;
    return *to ? 0 : config_json_error(s, key, "a whole number above 0", e);
}

int config_json_read_positive(const struct source *s, const char *key, double missing, double *to,
                              struct error *e)
{
    const json_t *value = config_json_value(s, key);
    *to = missing;
    if (!value)
        return 0;
    *to = json_number_value(value);
    return json_is_number(value) && isfinite(*to) && *to > 0
               ? 0
               : config_json_error(s, key, "a positive number", e);
}

int config_json_read_flag(const struct source *s, const char *key, bool missing, bool *to,
                          struct error *e)
{
    const json_t *value = config_json_value(s, key);
    *to = value ? json_is_true(value) : missing;
    return !value || json_is_boolean(value) ? 0 : config_json_error(s, key, "true or false", e);
}

const char *config_json_string(const struct source *s, const char *key)
{
    return json_string_value(config_json_value(s, key));
}

int config_json_read_choice(const struct source *s, const char *key, const char *const *known,
                            size_t missing, size_t *to, struct error *e)
{
    const char *text = config_json_string(s, key);
    char what[128] = "";
    *to = missing;
    if (!config_json_value(s, key))
        return 0;
    for (size_t i = 0; known[i]; i++) {
        size_t n = strlen(what);
        snprintf(what + n, sizeof what - n, "%s%s", i ? " or " : "", known[i]);
        if (text && strcmp(text, known[i]) == 0) {
            *to = i;
            return 0;
        }
    }
    return error_set(e, "%s: %s %s is not known here; %s is", s->file, key,
                     text ? text : "that is no text", what);
}
