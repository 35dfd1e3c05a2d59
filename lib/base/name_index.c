#include "name_index.h"

#include "hash.h"

#include <string.h>

struct name_index_slot {
    const char *name; /* NULL: the slot is free */
    uint64_t hash;
    size_t item;
};

/* The slot of the name, or the free one for it; slots are probed linearly. */
static struct name_index_slot *find_slot(const struct name_index *x, const char *name,
                                         uint64_t hash)
{
    size_t mask = x->capacity - 1, i = (size_t)hash & mask; /* the capacity is a power of two */
    while (x->slots[i].name && (x->slots[i].hash != hash || strcmp(x->slots[i].name, name) != 0))
        i = (i + 1) & mask;
    return &x->slots[i];
}

/* Keeps at least half of the slots free. */
static void reserve_slot(struct name_index *x, struct arena *a)
{
    const struct name_index old = *x;
    if (2 * (x->n + 1) <= x->capacity)
        return;
    x->capacity = old.capacity ? 2 * old.capacity : 16;
    x->slots = arena_alloc(a, x->capacity, sizeof *x->slots);
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slots[i].name)
            *find_slot(x, old.slots[i].name, old.slots[i].hash) = old.slots[i];
}

size_t name_index_add(struct name_index *x, const char *name, size_t i, struct arena *a)
{
    reserve_slot(x, a);
    uint64_t hash = XXH3_64bits(name, strlen(name));
    struct name_index_slot *slot = find_slot(x, name, hash);
    if (slot->name)
        return slot->item;
    *slot = (struct name_index_slot){name, hash, i};
    x->n++;
    return i;
}

long name_index_find(const struct name_index *x, const char *name)
{
    if (!x->n)
        return -1;
    const struct name_index_slot *slot = find_slot(x, name, XXH3_64bits(name, strlen(name)));
    return slot->name ? (long)slot->item : -1;
}
