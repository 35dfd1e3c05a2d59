#include "torch_legacy.h"

#include "little_endian.h"
#include "pickle.h"
#include "torch_tensors.h"

#include <stdlib.h>
#include <string.h>

/* ---- storages -------------------------------------------------------------------------------- */

static int compare_storage_keys(const void *a, const void *b)
{
    const struct pickle_storage *x = *(struct pickle_storage *const *)a;
    const struct pickle_storage *y = *(struct pickle_storage *const *)b;
    size_t n = x->key_length < y->key_length ? x->key_length : y->key_length;
    int order = memcmp(x->key, y->key, n);
    return order ? order : (x->key_length > y->key_length) - (x->key_length < y->key_length);
}

/* The storages sorted by key; several may have the same one. The caller frees. */
static struct pickle_storage **list_storages_sorted_by_key(const struct pickle *p, size_t *n)
{
    *n = 0;
    for (struct pickle_storage *s = p->storages; s; s = s->next)
        ++*n;
    struct pickle_storage **sorted = mem_alloc(*n, sizeof *sorted), **to = sorted;
    for (struct pickle_storage *s = p->storages; s; s = s->next)
        *to++ = s;
    qsort(sorted, *n, sizeof *sorted, compare_storage_keys);
    return sorted;
}

/* The data of one key: an int64 number of elements, then the elements. */
static int locate_legacy_storage(struct pickle *p, struct pickle_storage **sorted, size_t n,
                                 const struct pickle_value *key, struct error *e)
{
    struct pickle_storage wanted = {.key = key->text, .key_length = key->length}, *w = &wanted;
    if (key->kind != PICKLE_STRING || key->length > PICKLE_MAX_KEY)
        return error_set(e, "%s: the key of a storage is not a short string", p->file);
    struct pickle_storage **found = bsearch(&w, sorted, n, sizeof *sorted, compare_storage_keys);
    if (!found || p->size - p->position < 8)
        return error_set(e, "%s: the storages are truncated, or do not match the tensors", p->file);
    uint64_t size = (*found)->element_size;
    char class[204];
    if (!size)
        return error_set(e, "%s: storage %.*s has the class %s, which is not supported", p->file,
                         (int)key->length, key->text,
                         pickle_value_class_name((*found)->class, class, sizeof class));
    if ((*found)->data)
        return error_set(e, "%s: storage %.*s is listed twice", p->file, (int)key->length,
                         key->text);
    uint64_t elements = little_endian_read(p->bytes + p->position, 8);
    p->position += 8;
    if (elements > (p->size - p->position) / size)
        return error_set(e, "%s: storage %.*s has %llu elements, which extend beyond the file",
                         p->file, (int)key->length, key->text, (unsigned long long)elements);
    while (found > sorted && compare_storage_keys(found - 1, &w) == 0)
        found--;
    for (; found < sorted + n && compare_storage_keys(found, &w) == 0; found++)
        if (torch_tensors_set_storage(p->file, *found, p->bytes + p->position, elements * size, e) <
            0)
            return -1;
    p->position += elements * size;
    return 0;
}

static int locate_all_legacy_storages(struct pickle *p, const struct pickle_value *keys,
                                      struct pickle_storage **sorted, size_t n, struct error *e)
{
    if (keys->kind != PICKLE_LIST)
        return error_set(e, "%s: the keys of the storages are not a list", p->file);
    for (size_t i = 0; i < keys->n; i++)
        if (locate_legacy_storage(p, sorted, n, keys->items[i], e) < 0)
            return -1;
    for (size_t i = 0; i < n; i++)
        if (!sorted[i]->data)
            return error_set(e, "%s: storage %.*s is missing", p->file, (int)sorted[i]->key_length,
                             sorted[i]->key);
    return 0;
}

static int sort_and_locate_legacy_storages(struct pickle *p, const struct pickle_value *keys,
                                           struct error *e)
{
    size_t n;
    struct pickle_storage **sorted = list_storages_sorted_by_key(p, &n);
    int failed = locate_all_legacy_storages(p, keys, sorted, n, e);
    free(sorted);
    return failed;
}

/* ---- the file -------------------------------------------------------------------------------- */

static int list_tensors(struct stored_tensors *s, struct pickle *p, struct error *e)
{
    enum { MAGIC, PROTOCOL, SYSTEM, DICT, KEYS, N_PICKLES };
    struct pickle_value *pickles[N_PICKLES];
    size_t start[N_PICKLES + 1] = {0};
    for (size_t i = 0; i < N_PICKLES; i++) {
        pickles[i] = pickle_load(p, e);
        if (!pickles[i])
            return -1;
        start[i + 1] = p->position;
        if (p->position > TORCH_TENSORS_MAX_PICKLE)
            return error_set(e, "%s: the pickles have more than %d bytes", s->file,
                             TORCH_TENSORS_MAX_PICKLE);
    }
    const struct pickle_value *little = pickle_value_dict_get(pickles[SYSTEM], "little_endian");
    if (pickles[PROTOCOL]->kind != PICKLE_INTEGER || pickles[PROTOCOL]->integer != 1001 ||
        !little || little->kind != PICKLE_BOOL || !little->integer)
        return error_set(e, "%s is not a little-endian torch file of protocol 1001", s->file);
    s->header = p->bytes + start[DICT];
    s->header_size = start[DICT + 1] - start[DICT];
    return sort_and_locate_legacy_storages(p, pickles[KEYS], e) < 0
               ? -1
               : torch_tensors_add_dict(s, pickles[DICT], e);
}

int torch_legacy_list_tensors(struct stored_tensors *s, const unsigned char *bytes, size_t size,
                              struct error *e)
{
    struct pickle p = {.file = s->file, .bytes = bytes, .size = size};
    int failed = list_tensors(s, &p, e);
    s->has_other_contents |= p.position < size;
    pickle_free(&p);
    return failed;
}
