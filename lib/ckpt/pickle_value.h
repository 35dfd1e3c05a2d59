/* The objects that a pickle of tensors contains: numbers, strings, tuples, lists, dicts, and
 * torch's storages and tensors. An object of any other class is opaque: only the name of its class
 * is kept. They live in the arena of the pickle that was loaded (pickle.h); strings point into its
 * bytes. */
#ifndef TV_PICKLE_VALUE_H
#define TV_PICKLE_VALUE_H

#include "dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INTEGER,
    PICKLE_STRING,
    PICKLE_BYTES,
    PICKLE_TUPLE,
    PICKLE_LIST,
    PICKLE_DICT,   /* n items: keys and values in turn */
    PICKLE_GLOBAL, /* one of pickle_globals.h */
    PICKLE_CLASS,  /* any other class or function */
    PICKLE_OBJECT, /* what such a class or function makes */
    PICKLE_STORAGE,
    PICKLE_TENSOR,
    PICKLE_UNREADABLE_TENSOR, /* its `text` is what it is: "is quantized; ..." */
    PICKLE_OTHER              /* a float, an integer above 64 bits, a set */
};

#define PICKLE_MAX_KEY 64

/* Elements in memory. The caller of pickle_load finds the data that belong to the key. */
struct pickle_storage {
    const char *key;
    size_t key_length;
    const struct pickle_value *class; /* a PICKLE_GLOBAL or PICKLE_CLASS */
    enum dtype dtype;                 /* DTYPE_NONE: bytes without a type, or an unknown class */
    size_t element_size;              /* in bytes; 0: not known */
    uint64_t elements;
    const unsigned char *data;
    uint64_t bytes; /* at `data` */
    struct pickle_storage *next;
};

/* A view of a storage; offset and strides count elements. */
struct pickle_tensor {
    struct pickle_storage *storage;
    enum dtype dtype;
    uint64_t offset;
    size_t rank;
    const uint64_t *shape, *stride;
};

struct pickle_value {
    enum pickle_kind kind;
    bool visited; /* by the search for the dict of tensors (state_dict.h) */
    union {
        int64_t integer; /* PICKLE_INTEGER and PICKLE_BOOL */
        struct {
            const char *text; /* PICKLE_STRING, PICKLE_BYTES; not terminated */
            size_t length;
        };
        struct {
            struct pickle_value **items; /* PICKLE_TUPLE, PICKLE_LIST and PICKLE_DICT */
            size_t n, capacity;
        };
        struct {
            const char *module, *name; /* PICKLE_CLASS, PICKLE_OBJECT; not terminated */
            uint32_t module_length, name_length;
        };
        const struct pickle_global *global;
        struct pickle_storage *storage;
        struct pickle_tensor *tensor;
    };
};

bool pickle_value_equals_string(const struct pickle_value *v, const char *text);
/* The value under a string key; NULL if there is none, or if v is not a dict. */
const struct pickle_value *pickle_value_dict_get(const struct pickle_value *v, const char *key);
/* Writes "module.name" of a PICKLE_GLOBAL, PICKLE_CLASS or PICKLE_OBJECT, shortened to `size` - 1
 * bytes. Returns `to`. */
const char *pickle_value_class_name(const struct pickle_value *v, char *to, size_t size);

#endif
