/* Typed access to the keys of a record's msgpack map, with error messages. A record_parser borrows
 * everything; what it returns lives in its arena, or for arrays and maps in the zone of
 * record_fields_open_map. After the first error the other functions return a neutral value (0, "",
 * an empty map), so that a caller checks `failed` once at the end. */
#ifndef TV_RECORD_FIELDS_H
#define TV_RECORD_FIELDS_H

#include "record.h"

#include <msgpack.h>

struct record_fields {
    struct arena *arena;
    struct error *error;
    const char *record; /* "tensor", ...: for messages */
    bool failed;
};

/* Unpacks `size` bytes of one encoded map into `zone`, which it initializes; the caller destroys
 * the zone, also after an error. */
msgpack_object_map record_fields_open_map(struct record_fields *p, const unsigned char *map,
                                          size_t size, msgpack_zone *zone);
/* Set the error: the value of `key` is not what was expected; an object lacks required keys. */
void record_fields_set_invalid(struct record_fields *p, const char *key, const char *expected);
void record_fields_set_incomplete(struct record_fields *p, const char *object, const char *keys);
/* True if the object is this string. */
bool record_fields_equals(msgpack_object o, const char *text);

/* The value of `key`, which must be a string without zero bytes, an integer of at most `most`, ...
 */
const char *record_fields_get_text(struct record_fields *p, const char *key, msgpack_object o);
uint64_t record_fields_get_uint(struct record_fields *p, const char *key, msgpack_object o,
                                uint64_t most);
bool record_fields_get_bool(struct record_fields *p, const char *key, msgpack_object o);
double record_fields_get_number(struct record_fields *p, const char *key, msgpack_object o);
uint64_t record_fields_get_hash(struct record_fields *p, const char *key, msgpack_object o);
enum dtype record_fields_get_dtype(struct record_fields *p, const char *key, msgpack_object o);
msgpack_object_array record_fields_get_array(struct record_fields *p, const char *key,
                                             msgpack_object o);
msgpack_object_map record_fields_get_map(struct record_fields *p, const char *key,
                                         msgpack_object o);

/* Appends a pair that this version does not define to the keys that are passed on. */
void record_fields_add_unknown(struct record_fields *p, struct unknown_keys *unknown,
                               const msgpack_object_kv *pair);

#endif
