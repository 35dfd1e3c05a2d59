#include "record_fields.h"

#include "encode.h"

#include <string.h>

/* ---- errors ------------------------------------------------------------------------------ */

void record_fields_set_invalid(struct record_fields *p, const char *key, const char *expected)
{
    if (!p->failed)
        error_set(p->error, "broken stream: %s in a %s record is not %s", key, p->record, expected);
    p->failed = true;
}

void record_fields_set_incomplete(struct record_fields *p, const char *object, const char *keys)
{
    if (!p->failed)
        error_set(p->error, "broken stream: %s in a %s record lacks one of %s", object, p->record,
                  keys);
    p->failed = true;
}

/* ---- values ------------------------------------------------------------------------------ */

bool record_fields_equals(msgpack_object o, const char *text)
{
    return o.type == MSGPACK_OBJECT_STR && o.via.str.size == strlen(text) &&
           memcmp(o.via.str.ptr, text, o.via.str.size) == 0;
}

/* A zero byte would end the text early, because it becomes a C string. */
const char *record_fields_get_text(struct record_fields *p, const char *key, msgpack_object o)
{
    if (o.type != MSGPACK_OBJECT_STR || memchr(o.via.str.ptr, 0, o.via.str.size)) {
        record_fields_set_invalid(p, key, "a string");
        return "";
    }
    return arena_copy_text_n(p->arena, o.via.str.ptr, o.via.str.size);
}

uint64_t record_fields_get_uint(struct record_fields *p, const char *key, msgpack_object o,
                                uint64_t most)
{
    if (o.type != MSGPACK_OBJECT_POSITIVE_INTEGER || o.via.u64 > most) {
        record_fields_set_invalid(p, key, "an integer in range");
        return 0;
    }
    return o.via.u64;
}

bool record_fields_get_bool(struct record_fields *p, const char *key, msgpack_object o)
{
    if (o.type != MSGPACK_OBJECT_BOOLEAN) {
        record_fields_set_invalid(p, key, "true or false");
        return false;
    }
    return o.via.boolean;
}

double record_fields_get_number(struct record_fields *p, const char *key, msgpack_object o)
{
    double x = NAN;
    if (o.type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        x = (double)o.via.u64;
    else if (o.type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        x = (double)o.via.i64;
    else if (o.type == MSGPACK_OBJECT_FLOAT64 || o.type == MSGPACK_OBJECT_FLOAT32)
        x = o.via.f64;
    if (!isfinite(x))
        record_fields_set_invalid(p, key, "a finite number");
    return x;
}

uint64_t record_fields_get_hash(struct record_fields *p, const char *key, msgpack_object o)
{
    if (o.type != MSGPACK_OBJECT_BIN || o.via.bin.size != 8) {
        record_fields_set_invalid(p, key, "a bin of 8 bytes");
        return 0;
    }
    return record_read_big_endian((const unsigned char *)o.via.bin.ptr, 8);
}

enum dtype record_fields_get_dtype(struct record_fields *p, const char *key, msgpack_object o)
{
    enum dtype dtype = dtype_from_name(record_fields_get_text(p, key, o));
    if (dtype == DTYPE_NONE)
        record_fields_set_invalid(p, key, "a dtype of safetensors");
    return dtype;
}

msgpack_object_array record_fields_get_array(struct record_fields *p, const char *key,
                                             msgpack_object o)
{
    if (o.type != MSGPACK_OBJECT_ARRAY) {
        record_fields_set_invalid(p, key, "an array");
        return (msgpack_object_array){0};
    }
    return o.via.array;
}

msgpack_object_map record_fields_get_map(struct record_fields *p, const char *key, msgpack_object o)
{
    if (o.type != MSGPACK_OBJECT_MAP) {
        record_fields_set_invalid(p, key, "a map");
        return (msgpack_object_map){0};
    }
    return o.via.map;
}

/* ---- maps -------------------------------------------------------------------------------- */

static bool unpack(const unsigned char *map, size_t size, size_t *offset, msgpack_zone *zone,
                   msgpack_object *o)
{
    msgpack_unpack_return result = msgpack_unpack((const char *)map, size, offset, zone, o);
    if (result == MSGPACK_UNPACK_NOMEM_ERROR)
        mem_exit();
    return result >= 0;
}

msgpack_object_map record_fields_open_map(struct record_fields *p, const unsigned char *map,
                                          size_t size, msgpack_zone *zone)
{
    msgpack_object o;
    size_t offset = 0;
    if (!msgpack_zone_init(zone, 4096))
        mem_exit();
    if (!record_is_well_formed(map, size) || !unpack(map, size, &offset, zone, &o) ||
        offset != size || o.type != MSGPACK_OBJECT_MAP) {
        p->failed = true;
        error_set(p->error,
                  "broken stream: a record is not one msgpack map of the length before it");
        return (msgpack_object_map){0};
    }
    return o.via.map;
}

void record_fields_add_unknown(struct record_fields *p, struct unknown_keys *unknown,
                               const msgpack_object_kv *pair)
{
    struct bytes b = {0};
    encode_msgpack_object(&b, &pair->key);
    encode_msgpack_object(&b, &pair->val);
    unsigned char *all = arena_alloc(p->arena, unknown->size + b.size, 1);
    if (unknown->size)
        memcpy(all, unknown->bytes, unknown->size);
    memcpy(all + unknown->size, b.data, b.size);
    *unknown = (struct unknown_keys){unknown->n + 1, unknown->size + b.size, all};
    bytes_free(&b);
}
