#include "keys.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const json_t *keys_find(const struct source *s, const char *key)
{
    const json_t *value = json_object_get(s->object, key);
    return json_is_null(value) ? NULL : value;
}

int keys_wrong(const struct source *s, const char *key, const char *what, struct error *e)
{
    return error_set(e, "%s: %s is not %s", s->file, key, what);
}

int keys_count(const struct source *s, const char *key, json_int_t most, size_t missing, size_t *to,
               struct error *e)
{
    const json_t *value = keys_find(s, key);
    *to = missing;
    if (!value)
        return 0;
    json_int_t n = json_is_integer(value) ? json_integer_value(value) : -1;
    if (n < 0 || n > most)
        return keys_wrong(s, key, "a whole number in a sensible range", e);
    *to = (size_t)n;
    return 0;
}

int keys_size(const struct source *s, const char *key, json_int_t most, size_t missing, size_t *to,
              struct error *e)
{
    if (missing == KEYS_REQUIRED && !keys_find(s, key))
        return error_set(e, "%s: %s is missing", s->file, key);
    if (keys_count(s, key, most, missing, to, e))
        return -1;
    return *to ? 0 : keys_wrong(s, key, "a whole number above 0", e);
}

int keys_number(const struct source *s, const char *key, double missing, double *to,
                struct error *e)
{
    const json_t *value = keys_find(s, key);
    *to = missing;
    if (!value)
        return 0;
    *to = json_number_value(value);
    return json_is_number(value) && isfinite(*to) && *to > 0
               ? 0
               : keys_wrong(s, key, "a positive number", e);
}

int keys_flag(const struct source *s, const char *key, bool missing, bool *to, struct error *e)
{
    const json_t *value = keys_find(s, key);
    *to = value ? json_is_true(value) : missing;
    return !value || json_is_boolean(value) ? 0 : keys_wrong(s, key, "true or false", e);
}

const char *keys_text(const struct source *s, const char *key)
{
    return json_string_value(keys_find(s, key));
}

int keys_choice(const struct source *s, const char *key, const char *const *known, size_t missing,
                size_t *to, struct error *e)
{
    const char *text = keys_text(s, key);
    char what[128] = "";
    *to = missing;
    if (!keys_find(s, key))
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
