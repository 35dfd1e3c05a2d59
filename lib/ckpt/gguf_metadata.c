#include "gguf_metadata.h"

#include "little_endian.h"
#include "utf8.h"

#include <string.h>

#define MAX_KEY       65535
#define SMALLEST_PAIR 13 /* bytes: the length of a key, a type, a value of one byte */

static const struct {
    const char *name;
    size_t size; /* bytes; 0: it varies */
} types[GGUF_VALUE_TYPES] = {
    [GGUF_U8] = {"uint8", 1},    [GGUF_I8] = {"int8", 1},    [GGUF_U16] = {"uint16", 2},
    [GGUF_I16] = {"int16", 2},   [GGUF_U32] = {"uint32", 4}, [GGUF_I32] = {"int32", 4},
    [GGUF_F32] = {"float32", 4}, [GGUF_BOOL] = {"bool", 1},  [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"uint64", 8}, [GGUF_I64] = {"int64", 8},
    [GGUF_F64] = {"float64", 8},
};

/* ---- reading --------------------------------------------------------------------------------- */

/* The key of the pair at the cursor, in the arena; NULL on error. */
static const char *read_key(struct gguf_cursor *c, struct arena *a, struct error *e)
{
    size_t start = c->position, length;
    const char *key = gguf_cursor_read_string(c, "a metadata key", &length, e);
    if (!key)
        return NULL;
    if (length > 0 && length <= MAX_KEY && utf8_valid_prefix_length(key, length) == length)
        return arena_copy_text_n(a, key, length);
    error_set(e, "%s: the metadata key at byte %zu is %s", c->file, start,
              length == 0        ? "empty"
              : length > MAX_KEY ? "longer than 65535 bytes"
                                 : "not UTF-8 without NUL");
    return NULL;
}

/* A bool is a byte 0 or 1. */
static int check_booleans(const struct gguf_cursor *c, const struct gguf_value *v,
                          enum gguf_value_type type, struct error *e)
{
    for (size_t i = 0; type == GGUF_BOOL && i < v->data_size; i++)
        if (v->data[i] > 1)
            return error_set(e, "%s: metadata %.200s: a bool has the value %u", c->file, v->key,
                             v->data[i]);
    return 0;
}

/* Reads the value, or the elements, of a type with a fixed size. */
static int read_fixed_size(struct gguf_cursor *c, struct gguf_value *v, enum gguf_value_type type,
                           struct error *e)
{
    size_t size = types[type].size;
    if (v->count > (c->size - c->position) / size)
        return error_set(e,
                         "%s: metadata %.200s needs %llu values of %zu bytes, but the file has "
                         "only %zu more bytes",
                         c->file, v->key, (unsigned long long)v->count, size,
                         c->size - c->position);
    v->data_size = (size_t)v->count * size;
    v->data = gguf_cursor_take(c, v->data_size, "a metadata value", e);
    return v->data ? check_booleans(c, v, type, e) : -1;
}

static int read_string(struct gguf_cursor *c, struct gguf_value *v, struct error *e)
{
    const char *text = gguf_cursor_read_string(c, "a metadata string", &v->data_size, e);
    v->data = (const unsigned char *)text;
    v->count = v->data_size;
    return text ? 0 : -1;
}

static int read_array_of_strings(struct gguf_cursor *c, struct gguf_value *v, struct error *e)
{
    size_t start = c->position, length;
    v->data = c->bytes + start;
    for (uint64_t i = 0; i < v->count; i++)
        if (!gguf_cursor_read_string(c, "a string of an array", &length, e))
            return -1;
    v->data_size = c->position - start;
    return 0;
}

static int read_array(struct gguf_cursor *c, struct gguf_value *v, struct error *e)
{
    uint64_t type;
    if (gguf_cursor_read(c, 4, "the type of an array", &type, e) < 0 ||
        gguf_cursor_read(c, 8, "the length of an array", &v->count, e) < 0)
        return -1;
    if (type >= GGUF_VALUE_TYPES || type == GGUF_ARRAY)
        return error_set(e, "%s: metadata %.200s is an array of %s %llu, which is not supported",
                         c->file, v->key, type == GGUF_ARRAY ? "arrays, type" : "unknown type",
                         (unsigned long long)type);
    v->element_type = (enum gguf_value_type)type;
    return type == GGUF_STRING ? read_array_of_strings(c, v, e)
                               : read_fixed_size(c, v, v->element_type, e);
}

static int read_pair(struct gguf_cursor *c, struct gguf_value *v, struct arena *a, struct error *e)
{
    uint64_t type;
    size_t start = c->position;
    *v = (struct gguf_value){.key = read_key(c, a, e), .count = 1};
    if (!v->key || gguf_cursor_read(c, 4, "the type of a metadata value", &type, e) < 0)
        return -1;
    if (type >= GGUF_VALUE_TYPES)
        return error_set(e, "%s: metadata %.200s has the unknown type %llu", c->file, v->key,
                         (unsigned long long)type);
    v->type = (enum gguf_value_type)type;
    int failed = type == GGUF_STRING  ? read_string(c, v, e)
                 : type == GGUF_ARRAY ? read_array(c, v, e)
                                      : read_fixed_size(c, v, v->type, e);
    v->pair = c->bytes + start;
    v->pair_size = c->position - start;
    return failed;
}

int gguf_metadata_read(struct gguf_metadata *m, struct gguf_cursor *c, uint64_t n, struct arena *a,
                       struct error *e)
{
    if (n > (c->size - c->position) / SMALLEST_PAIR)
        return error_set(e,
                         "%s: its header announces %llu metadata pairs, more than it has room for",
                         c->file, (unsigned long long)n);
    m->file = c->file;
    m->values = arena_alloc(a, (size_t)n, sizeof *m->values);
    for (size_t i = 0; i < n; i++) {
        if (read_pair(c, &m->values[i], a, e) < 0)
            return -1;
        if (name_index_add(&m->keys, m->values[i].key, i, a) != i)
            return error_set(e, "%s: two metadata values have the key %.200s", c->file,
                             m->values[i].key);
        m->n++;
    }
    return 0;
}

/* ---- values ---------------------------------------------------------------------------------- */

bool gguf_metadata_is_recorded_key(const char *key)
{
    static const char start[] = GGUF_RECORDED_PREFIX "tvtools_";
    return strncmp(key, start, strlen(start)) == 0;
}

const struct gguf_value *gguf_metadata_find(const struct gguf_metadata *m, const char *key)
{
    long i = name_index_find(&m->keys, key);
    return i < 0 ? NULL : &m->values[i];
}

static int type_error(const struct gguf_metadata *m, const struct gguf_value *v,
                      const char *expected, struct error *e)
{
    return error_set(e, "%s: metadata %.200s is of type %s, not %s", m->file, v->key,
                     types[v->type].name, expected);
}

/* Is it an integer that is not negative? `type` is that of the bytes at p. */
static bool decode_count(enum gguf_value_type type, const unsigned char *p, uint64_t *x)
{
    size_t size = types[type].size;
    bool is_signed = type == GGUF_I8 || type == GGUF_I16 || type == GGUF_I32 || type == GGUF_I64;
    if (size == 0 || type == GGUF_BOOL || type == GGUF_F32 || type == GGUF_F64)
        return false;
    *x = little_endian_read(p, size);
    return !is_signed || *x >> (8 * size - 1) == 0;
}

int gguf_metadata_find_count(const struct gguf_metadata *m, const char *key, uint64_t *x,
                             struct error *e)
{
    const struct gguf_value *v = gguf_metadata_find(m, key);
    if (!v)
        return 0;
    return decode_count(v->type, v->data, x) ? 1
                                             : type_error(m, v, "an integer that is at least 0", e);
}

int gguf_metadata_find_constant(const struct gguf_metadata *m, const char *key, uint64_t *x,
                                struct error *e)
{
    const struct gguf_value *v = gguf_metadata_find(m, key);
    uint64_t other;
    if (!v || v->type != GGUF_ARRAY)
        return gguf_metadata_find_count(m, key, x, e);
    if (v->count == 0 || !decode_count(v->element_type, v->data, x))
        return type_error(m, v, "an integer", e);
    for (uint64_t i = 1; i < v->count; i++)
        if (!decode_count(v->element_type, v->data + i * types[v->element_type].size, &other) ||
            other != *x)
            return error_set(e,
                             "%s: metadata %.200s differs between layers; only equal values are "
                             "supported",
                             m->file, key);
    return 1;
}

int gguf_metadata_find_f32(const struct gguf_metadata *m, const char *key, float *x,
                           struct error *e)
{
    const struct gguf_value *v = gguf_metadata_find(m, key);
    if (!v)
        return 0;
    if (v->type != GGUF_F32)
        return type_error(m, v, "float32", e);
    uint32_t bits = (uint32_t)little_endian_read(v->data, 4);
    memcpy(x, &bits, sizeof bits);
    return 1;
}

int gguf_metadata_find_text(const struct gguf_metadata *m, const char *key, const char **text,
                            struct arena *a, struct error *e)
{
    const struct gguf_value *v = gguf_metadata_find(m, key);
    if (!v)
        return 0;
    if (v->type != GGUF_STRING)
        return type_error(m, v, "string", e);
    if (utf8_valid_prefix_length((const char *)v->data, v->data_size) < v->data_size)
        return error_set(e, "%s: metadata %.200s is not UTF-8 without NUL", m->file, key);
    *text = arena_copy_text_n(a, (const char *)v->data, v->data_size);
    return 1;
}
