/* Index of a list by name: a hash table. The table lives in the arena that is passed in; names are
 * borrowed. Zeroed it is empty. */
#ifndef TV_NAME_INDEX_H
#define TV_NAME_INDEX_H

#include "mem.h"

struct name_index {
    size_t n, capacity;
    struct name_index_slot *slots;
};

/* Adds the name of item `i`, unless it was added before. Returns the item that has the name. */
size_t name_index_add(struct name_index *x, const char *name, size_t i, struct arena *a);
/* The item of that name; -1 if there is none. */
long name_index_find(const struct name_index *x, const char *name);

#endif
