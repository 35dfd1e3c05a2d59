#include "torch_file.h"

#include "pickle.h"
#include "zip.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PICKLE (64 << 20)

/* The magic number of the older format, 0x1950a86a20f9469cfc6c, as a pickle. */
static const unsigned char old_magic[] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                          0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e};

static bool is_old(const unsigned char *bytes, size_t size)
{
    return size >= sizeof old_magic && memcmp(bytes, old_magic, sizeof old_magic) == 0;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* Number of elements from the storage's start to the last one that the tensor reaches; 0 for a
 * tensor without elements. */
static int find_reach(const struct stored_tensors *w, const char *name,
                      const struct pickle_tensor *t, uint64_t *reach, struct error *e)
{
    *reach = 0;
    for (size_t i = 0; i < t->rank; i++)
        if (t->shape[i] == 0)
            return 0;
    bool overflow = __builtin_add_overflow(t->offset, 1, reach);
    for (size_t i = 0; i < t->rank; i++) {
        uint64_t step;
        overflow |= __builtin_mul_overflow(t->shape[i] - 1, t->stride[i], &step);
        overflow |= __builtin_add_overflow(*reach, step, reach);
    }
    return overflow
               ? error_set(e, "%s: tensor %.200s: its shape and strides overflow", w->file, name)
               : 0;
}

/* Are its elements one behind the other? (It has some.) */
static bool is_dense(const struct pickle_tensor *t)
{
    uint64_t expected = 1;
    for (size_t i = t->rank; i-- > 0;) {
        if (t->shape[i] != 1 && t->stride[i] != expected)
            return false;
        if (__builtin_mul_overflow(expected, t->shape[i], &expected))
            return false;
    }
    return true;
}

static int add_tensor(struct stored_tensors *w, const struct pickle_value *key,
                      const struct pickle_tensor *t, struct error *e)
{
    const struct pickle_storage *s = t->storage;
    char name[201];
    uint64_t reach, room = s->bytes / (dtype_bits(t->dtype) / 8);
    snprintf(name, sizeof name, "%.*s", key->length < 200 ? (int)key->length : 200, key->text);
    if (t->rank > STORED_TENSORS_MAX_RANK)
        return error_set(e, "%s: tensor %s has %zu dimensions; %d are read", w->file, name, t->rank,
                         STORED_TENSORS_MAX_RANK);
    if (find_reach(w, name, t, &reach, e) < 0)
        return -1;
    if (reach > room)
        return error_set(
            e, "%s: tensor %s reaches element %llu of storage %.*s, which has only %llu", w->file,
            name, (unsigned long long)reach, (int)s->key_length, s->key, (unsigned long long)room);
    struct stored_tensor new = {.dtype = t->dtype,
                                .rank = t->rank,
                                .shape = t->shape,
                                .stride = reach == 0 || is_dense(t) ? NULL : t->stride,
                                .data = s->data};
    if (reach)
        new.data += t->offset *(dtype_bits(t->dtype) / 8);
    return stored_tensors_add(w, key->text, key->length, &new, e);
}

/* A dict inside the dict that has tensors: its key; else NULL. */
static const struct pickle_value *find_wrapped(const struct pickle_value *dict)
{
    for (size_t i = 0; i < dict->n; i += 2) {
        const struct pickle_value *inner = dict->items[i + 1];
        for (size_t j = 0; inner->kind == PICKLE_DICT && j < inner->n; j += 2)
            if (inner->items[j + 1]->kind == PICKLE_TENSOR && dict->items[i]->kind == PICKLE_TEXT)
                return dict->items[i];
    }
    return NULL;
}

static int no_tensors(const struct stored_tensors *w, const struct pickle_value *dict,
                      struct error *e)
{
    const struct pickle_value *key = find_wrapped(dict);
    if (key)
        return error_set(e, "%s: its tensors lie one level down, in \"%.*s\"; save that dict alone",
                         w->file, key->length < 100 ? (int)key->length : 100, key->text);
    return error_set(e, "%s holds a dict without a tensor", w->file);
}

static int add_tensors(struct stored_tensors *w, const struct pickle_value *dict, struct error *e)
{
    size_t others = 0;
    const struct pickle_value *first = NULL;
    if (dict->kind != PICKLE_DICT)
        return error_set(e, "%s: its pickle is not a dict of tensors", w->file);
    for (size_t i = 0; i < dict->n; i += 2) {
        const struct pickle_value *key = dict->items[i], *value = dict->items[i + 1];
        if (key->kind == PICKLE_TEXT && value->kind == PICKLE_TENSOR) {
            if (add_tensor(w, key, value->tensor, e) < 0)
                return -1;
        } else {
            others++;
            first = first || key->kind != PICKLE_TEXT ? first : key;
        }
    }
    if (w->n == 0 && dict->n > 0)
        return no_tensors(w, dict, e);
    if (others)
        notes_print(w->notes, "%s: %zu of its values are no tensors and are left out (%.*s)",
                    w->file, others, first ? (int)(first->length < 100 ? first->length : 100) : 3,
                    first ? first->text : "...");
    return 0;
}

/* Tells a storage where its bytes are. */
static int set_data(const char *file, struct pickle_storage *s, const unsigned char *data,
                    uint64_t bytes, struct error *e)
{
    uint64_t size = s->dtype == DTYPE_NONE ? 1 : dtype_bits(s->dtype) / 8, needed;
    if (__builtin_mul_overflow(s->elements, size, &needed) || needed > bytes)
        return error_set(e, "%s: storage %.*s has %llu elements, more than its %llu bytes hold",
                         file, (int)s->key_length, s->key, (unsigned long long)s->elements,
                         (unsigned long long)bytes);
    s->data = data;
    s->bytes = needed;
    return 0;
}

/* ---- the zip --------------------------------------------------------------------------------- */

/* The record FOLDER/name; NULL if there is none. */
static const struct zip_entry *find_record(const struct zip *z, const char *name)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", z->top, name);
    return n > 0 && (size_t)n < sizeof path ? zip_find_entry(z, path) : NULL;
}

/* The record "byteorder" of newer files says "little". */
static int check_order(const struct zip *z, struct error *e)
{
    const struct zip_entry *r = find_record(z, "byteorder");
    const unsigned char *text = r ? zip_entry_bytes(z, r, e) : NULL;
    if (!r)
        return 0;
    if (!text)
        return -1;
    if (r->size != 6 || memcmp(text, "little", 6) != 0)
        return error_set(e, "%s: its numbers are not little-endian", z->file);
    return 0;
}

static int find_storages(const struct zip *z, struct pickle *p, struct error *e)
{
    for (struct pickle_storage *s = p->storages; s; s = s->next) {
        char name[PICKLE_MAX_KEY + 8];
        snprintf(name, sizeof name, "data/%.*s", (int)s->key_length, s->key);
        const struct zip_entry *r = find_record(z, name);
        if (!r)
            return error_set(e, "%s: the record of storage %.*s is missing", z->file,
                             (int)s->key_length, s->key);
        const unsigned char *data = zip_entry_bytes(z, r, e);
        if (!data || set_data(z->file, s, data, r->size, e) < 0)
            return -1;
    }
    return 0;
}

static int read_zip(struct stored_tensors *w, const struct zip *z, struct error *e)
{
    const struct zip_entry *r = find_record(z, "data.pkl");
    if (find_record(z, "constants.pkl"))
        return error_set(e,
                         "%s is a TorchScript archive, a program with its weights; save the "
                         "model's state_dict instead",
                         w->file);
    if (!r)
        return error_set(e, "%s has no record data.pkl: torch.save did not write it", w->file);
    const unsigned char *bytes = zip_entry_bytes(z, r, e);
    if (!bytes || check_order(z, e) < 0)
        return -1;
    if (r->size > MAX_PICKLE)
        return error_set(e, "%s: its data.pkl has %llu bytes; %d are the most", w->file,
                         (unsigned long long)r->size, MAX_PICKLE);
    w->header = bytes;
    w->header_size = r->size;
    struct pickle p = {.file = w->file, .bytes = bytes, .size = r->size};
    struct pickle_value *dict = pickle_load(&p, e);
    int failed = !dict || find_storages(z, &p, e) < 0 || add_tensors(w, dict, e) < 0;
    pickle_free(&p);
    return failed ? -1 : 0;
}

/* ---- the older format ------------------------------------------------------------------------ */

/* Storages of one key; the list of keys is sorted to find them. */
static int by_key(const void *a, const void *b)
{
    const struct pickle_storage *x = *(struct pickle_storage *const *)a;
    const struct pickle_storage *y = *(struct pickle_storage *const *)b;
    size_t n = x->key_length < y->key_length ? x->key_length : y->key_length;
    int order = memcmp(x->key, y->key, n);
    return order ? order : (x->key_length > y->key_length) - (x->key_length < y->key_length);
}

static struct pickle_storage **sort_storages(const struct pickle *p, size_t *n)
{
    *n = 0;
    for (struct pickle_storage *s = p->storages; s; s = s->next)
        ++*n;
    struct pickle_storage **sorted = mem_alloc(*n, sizeof *sorted), **to = sorted;
    for (struct pickle_storage *s = p->storages; s; s = s->next)
        *to++ = s;
    qsort(sorted, *n, sizeof *sorted, by_key);
    return sorted;
}

/* For each key in order: int64 number of elements, the elements. */
static int read_storage(struct pickle *p, struct pickle_storage **sorted, size_t n,
                        const struct pickle_value *key, struct error *e)
{
    struct pickle_storage wanted = {.key = key->text, .key_length = key->length}, *w = &wanted;
    if (key->kind != PICKLE_TEXT || key->length > PICKLE_MAX_KEY)
        return error_set(e, "%s: the key of a storage is not a short text", p->file);
    struct pickle_storage **found = bsearch(&w, sorted, n, sizeof *sorted, by_key);
    if (!found || p->size - p->at < 8)
        return error_set(e, "%s: its storages are cut short, or not those of its tensors", p->file);
    uint64_t size = (*found)->dtype == DTYPE_NONE ? 1 : dtype_bits((*found)->dtype) / 8;
    uint64_t elements = little_endian_read(p->bytes + p->at, 8);
    p->at += 8;
    if (elements > (p->size - p->at) / size)
        return error_set(e, "%s: storage %.*s claims %llu elements, more than there are", p->file,
                         (int)key->length, key->text, (unsigned long long)elements);
    while (found > sorted && by_key(found - 1, &w) == 0)
        found--;
    for (; found < sorted + n && by_key(found, &w) == 0; found++)
        if (set_data(p->file, *found, p->bytes + p->at, elements * size, e) < 0)
            return -1;
    p->at += elements * size;
    return 0;
}

static int read_storages(struct pickle *p, const struct pickle_value *keys, struct error *e)
{
    size_t n, i = 0;
    struct pickle_storage **sorted = sort_storages(p, &n);
    if (keys->kind == PICKLE_LIST)
        while (i < keys->n && read_storage(p, sorted, n, keys->items[i], e) == 0)
            i++;
    else
        error_set(e, "%s: the list of its storages is none", p->file);
    bool failed = keys->kind != PICKLE_LIST || i < keys->n;
    for (i = 0; !failed && i < n; i++)
        if (!sorted[i]->data)
            failed = error_set(e, "%s: storage %.*s is missing", p->file,
                               (int)sorted[i]->key_length, sorted[i]->key) < 0;
    free(sorted);
    return failed ? -1 : 0;
}

/* Five pickles: magic number, protocol, what wrote it, the dict, the storages' keys in the order
 * in which they follow. */
static int read_old(struct stored_tensors *w, struct pickle *p, struct error *e)
{
    struct pickle_value *parts[5];
    size_t start[6] = {0};
    for (size_t i = 0; i < 5; i++) {
        parts[i] = pickle_load(p, e);
        if (!parts[i])
            return -1;
        start[i + 1] = p->at;
        if (p->at > MAX_PICKLE)
            return error_set(e, "%s: its pickles have more than %d bytes", w->file, MAX_PICKLE);
    }
    const struct pickle_value *little = pickle_dict_get(parts[2], "little_endian");
    if (parts[1]->kind != PICKLE_INTEGER || parts[1]->integer != 1001 || !little ||
        little->kind != PICKLE_BOOL || !little->integer)
        return error_set(e, "%s is no little-endian torch file of protocol 1001", w->file);
    w->header = p->bytes + start[3];
    w->header_size = start[4] - start[3];
    return read_storages(p, parts[4], e) < 0 ? -1 : add_tensors(w, parts[3], e);
}

/* ---- both ------------------------------------------------------------------------------------ */

int torch_file_recognise(const char *file, const unsigned char *bytes, size_t size, struct error *e)
{
    struct zip z;
    if (is_old(bytes, size))
        return 1;
    if (size < 4 || memcmp(bytes, "PK\3\4", 4) != 0)
        return 0;
    if (zip_open(&z, file, bytes, size, e) < 0)
        return -1;
    bool found = find_record(&z, "data.pkl") != NULL;
    zip_free(&z);
    return found;
}

int torch_file_list_tensors(struct stored_tensors *w, const unsigned char *bytes, size_t size,
                            struct error *e)
{
    if (is_old(bytes, size)) {
        struct pickle p = {.file = w->file, .bytes = bytes, .size = size};
        int failed = read_old(w, &p, e);
        pickle_free(&p);
        return failed;
    }
    struct zip z;
    if (zip_open(&z, w->file, bytes, size, e) < 0)
        return -1;
    int failed = read_zip(w, &z, e);
    zip_free(&z);
    return failed;
}
