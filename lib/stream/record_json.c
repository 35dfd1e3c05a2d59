#include "record_json.h"

#include "printable.h"
#include "record_fields.h"

static void print_hex(FILE *out, const char *bytes, size_t size)
{
    putc('"', out);
    for (size_t i = 0; i < size; i++)
        fprintf(out, "%02x", (unsigned char)bytes[i]);
    putc('"', out);
}

static void print_object(FILE *out, msgpack_object o);

static void print_array(FILE *out, msgpack_object_array array)
{
    putc('[', out);
    for (size_t i = 0; i < array.size; i++) {
        fputs(i ? ", " : "", out);
        print_object(out, array.ptr[i]);
    }
    putc(']', out);
}

/* In JSON a key is a string, in msgpack any object. */
static void print_key(FILE *out, msgpack_object key)
{
    bool is_text = key.type == MSGPACK_OBJECT_STR || key.type == MSGPACK_OBJECT_BIN ||
                   key.type == MSGPACK_OBJECT_EXT;
    bool is_container = key.type == MSGPACK_OBJECT_ARRAY || key.type == MSGPACK_OBJECT_MAP;
    fputs(is_text ? "" : "\"", out);
    if (!is_container)
        print_object(out, key);
    fputs(is_text ? "" : "\"", out);
}

static void print_map(FILE *out, msgpack_object_map map)
{
    putc('{', out);
    for (size_t i = 0; i < map.size; i++) {
        fputs(i ? ", " : "", out);
        print_key(out, map.ptr[i].key);
        fputs(": ", out);
        print_object(out, map.ptr[i].val);
    }
    putc('}', out);
}

static void print_object(FILE *out, msgpack_object o)
{
    switch (o.type) {
    case MSGPACK_OBJECT_NIL:
        fputs("null", out);
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        fputs(o.via.boolean ? "true" : "false", out);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        fprintf(out, "%llu", (unsigned long long)o.via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        fprintf(out, "%lld", (long long)o.via.i64);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        if (isfinite(o.via.f64))
            fprintf(out, "%.17g", o.via.f64);
        else
            fputs("null", out);
        break;
    case MSGPACK_OBJECT_STR:
        printable_print_json(out, o.via.str.ptr, o.via.str.size);
        break;
    case MSGPACK_OBJECT_ARRAY:
        print_array(out, o.via.array);
        break;
    case MSGPACK_OBJECT_MAP:
        print_map(out, o.via.map);
        break;
    case MSGPACK_OBJECT_BIN:
        print_hex(out, o.via.bin.ptr, o.via.bin.size);
        break;
    case MSGPACK_OBJECT_EXT:
        fputs("\"\"", out);
        break;
    }
}

void record_json_print(FILE *out, const unsigned char *map, size_t size)
{
    struct error e;
    struct record_fields p = {.error = &e};
    msgpack_zone zone;
    msgpack_object_map m = record_fields_open_map(&p, map, size, &zone);
    print_map(out, m);
    msgpack_zone_destroy(&zone);
}
