#include "safetensors_scan.h"

#include "strict_json.h"
#include "utf8.h"

#include <string.h>

/* ---- values ---------------------------------------------------------------------------------- */

static void skip_space(struct safetensors_scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r'))
        s->at++;
}

/* Accepts the character after white space. */
static bool accept(struct safetensors_scan *s, char c)
{
    skip_space(s);
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

/* A string without escapes. */
static bool scan_string(struct safetensors_scan *s, const char **text, size_t *n)
{
    if (!accept(s, '"'))
        return false;
    *text = s->at;
    while (s->at < s->end && *s->at != '"' && *s->at != '\\' && (unsigned char)*s->at >= ' ')
        s->at++;
    *n = (size_t)(s->at - *text);
    return s->at < s->end && *s->at++ == '"' && utf8_valid_prefix_length(*text, *n) == *n;
}

/* A non-negative integer of up to 18 digits. */
static bool scan_integer(struct safetensors_scan *s, uint64_t *value)
{
    const char *first = s->at;
    for (*value = 0; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++)
        *value = *value * 10 + (uint64_t)(*s->at - '0');
    size_t digits = (size_t)(s->at - first);
    return digits == 1 || (digits > 1 && digits <= 18 && *first != '0');
}

/* [2, 3] */
static bool scan_integers(struct safetensors_scan *s, uint64_t *to, size_t max, size_t *n)
{
    *n = 0;
    if (!accept(s, '['))
        return false;
    if (accept(s, ']'))
        return true;
    do {
        skip_space(s);
        if (*n == max || !scan_integer(s, &to[(*n)++]))
            return false;
    } while (accept(s, ','));
    return accept(s, ']');
}

static bool scan_dtype(struct safetensors_scan *s, enum dtype *dtype)
{
    const char *text;
    char name[16] = "";
    size_t n;
    if (!scan_string(s, &text, &n) || n >= sizeof name)
        return false;
    memcpy(name, text, n);
    *dtype = dtype_from_name(name);
    return *dtype != DTYPE_NONE;
}

/* ---- entries --------------------------------------------------------------------------------- */

static bool is_key(const char *text, size_t n, const char *key)
{
    return n == strlen(key) && memcmp(text, key, n) == 0;
}

/* {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, in any order */
static bool scan_tensor(struct safetensors_scan *s, struct scanned_tensor *t)
{
    bool has_dtype = false, has_shape = false, has_offsets = false;
    if (!accept(s, '{'))
        return false;
    do {
        const char *key;
        size_t n, n_offsets;
        if (!scan_string(s, &key, &n) || !accept(s, ':'))
            return false;
        bool *found = is_key(key, n, "dtype")          ? &has_dtype
                      : is_key(key, n, "shape")        ? &has_shape
                      : is_key(key, n, "data_offsets") ? &has_offsets
                                                       : NULL;
        if (!found || *found)
            return false;
        *found = true;
        if (found == &has_dtype   ? !scan_dtype(s, &t->dtype)
            : found == &has_shape ? !scan_integers(s, t->shape, STORED_TENSORS_MAX_RANK, &t->rank)
                                  : !scan_integers(s, t->offsets, 2, &n_offsets) || n_offsets != 2)
            return false;
    } while (accept(s, ','));
    return has_dtype && has_shape && has_offsets && accept(s, '}');
}

/* Skips an object whose values are strings, with escapes. */
static bool scan_metadata(struct safetensors_scan *s)
{
    struct error ignored;
    bool in_string = false, valid = !s->has_metadata && accept(s, '{');
    const char *first = s->at - 1;
    for (; valid && s->at < s->end && (in_string || *s->at != '}'); s->at++)
        if (*s->at == '"')
            in_string = !in_string;
        else if (in_string && *s->at == '\\')
            s->at++;
    if (!valid || s->at >= s->end)
        return false;
    s->has_metadata = true;
    json_t *object = strict_json_parse("", "", (const unsigned char *)first,
                                       (size_t)(++s->at - first), &ignored);
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        valid = valid && json_is_string(value);
    }
    valid = valid && object;
    json_decref(object);
    return valid;
}

/* 1: the name of the next tensor; 0, -1: as safetensors_scan_next. */
static int scan_name(struct safetensors_scan *s, const char **name, size_t *n)
{
    for (;;) {
        bool is_first = !s->started;
        s->started = true;
        if (is_first && !accept(s, '{'))
            return -1;
        if (accept(s, '}')) {
            skip_space(s);
            return s->at == s->end ? 0 : -1;
        }
        if ((!is_first && !accept(s, ',')) || !scan_string(s, name, n) || !accept(s, ':'))
            return -1;
        if (!is_key(*name, *n, "__metadata__"))
            return 1;
        if (!scan_metadata(s))
            return -1;
    }
}

int safetensors_scan_next(struct safetensors_scan *s, struct scanned_tensor *t)
{
    const char *name = NULL;
    size_t n = 0;
    int found = scan_name(s, &name, &n);
    if (found <= 0)
        return found;
    t->name = arena_copy_text_n(&s->arena, name, n);
    bool is_new = name_index_add(&s->names, t->name, s->n, &s->arena) == s->n;
    s->n++;
    return is_new && scan_tensor(s, t) ? 1 : -1;
}

void safetensors_scan_free(struct safetensors_scan *s)
{
    arena_free(&s->arena);
}
