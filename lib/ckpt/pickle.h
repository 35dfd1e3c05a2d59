/* Pickles, as far as a dict of tensors needs them. Nothing in a pickle is ever called: the few
 * globals that torch.save writes are known by name, any other is refused. The opcodes are those
 * of torch/_weights_only_unpickler.py; their meaning is in CPython's Lib/pickletools.py.
 *
 * A pickle owns its values until pickle_free; texts point into the bytes it was given. Zeroed but
 * for `file`, `bytes` and `size` it is ready for pickle_load. */
#ifndef TV_PICKLE_H
#define TV_PICKLE_H

#include "dtype.h"
#include "error.h"
#include "mem.h"

#include <stdint.h>

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INTEGER,
    PICKLE_TEXT,
    PICKLE_TUPLE,
    PICKLE_LIST,
    PICKLE_DICT, /* n keys and values in turn */
    PICKLE_GLOBAL,
    PICKLE_STORAGE,
    PICKLE_TENSOR,
    PICKLE_OTHER /* a float, an integer above 64 bits, a set, a device */
};

#define PICKLE_MAX_KEY 64

/* Elements in memory; who calls pickle_load finds the data behind the key. */
struct pickle_storage {
    const char *key;
    size_t key_length;
    enum dtype dtype; /* DTYPE_NONE: bytes without a type */
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
    union {
        int64_t integer; /* and bool */
        struct {
            const char *text;
            size_t length;
        };
        struct {
            struct pickle_value **items;
            size_t n, room;
        };
        const struct pickle_global *global;
        struct pickle_storage *storage;
        struct pickle_tensor *tensor;
    };
};

struct pickle {
    const char *file; /* what sentences call it; borrowed */
    const unsigned char *bytes;
    size_t size, at;
    struct arena arena;
    struct pickle_storage *storages; /* every one that was named */
    size_t n_values;
    struct pickle_value **stack, **memo;
    size_t n_stack, stack_room, n_memo, memo_room;
    size_t *marks;
    size_t n_marks, marks_room;
};

/* The object of the pickle that starts at p->at, which moves behind it. NULL on error. */
struct pickle_value *pickle_load(struct pickle *p, struct error *e);
void pickle_free(struct pickle *p);
/* The value under a text key; NULL if there is none, or if v is no dict. */
const struct pickle_value *pickle_dict_get(const struct pickle_value *v, const char *key);

#endif
