#include "torch_file.h"

#include "file_format.h"
#include "foreign_format.h"
#include "little_endian.h"
#include "notes.h"
#include "pickle.h"
#include "state_dict.h"
#include "zip.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PICKLE (64 << 20)

static bool is_legacy_torch_file(const unsigned char *bytes, size_t size)
{
    return file_format_detect(bytes, size) == FILE_FORMAT_TORCH_LEGACY;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* The number of elements from the start of the storage to the last element of the tensor; 0 for a
 * tensor without elements. */
static int find_last_element_in_storage(const struct stored_tensors *s, const char *name,
                                        const struct pickle_tensor *t, uint64_t *last,
                                        struct error *e)
{
    *last = 0;
    for (size_t i = 0; i < t->rank; i++)
        if (t->shape[i] == 0)
            return 0;
    bool overflow = __builtin_add_overflow(t->offset, 1, last);
    for (size_t i = 0; i < t->rank; i++) {
        uint64_t step;
        overflow |= __builtin_mul_overflow(t->shape[i] - 1, t->stride[i], &step);
        overflow |= __builtin_add_overflow(*last, step, last);
    }
    return overflow
               ? error_set(e, "%s: tensor %.200s: its shape and strides overflow", s->file, name)
               : 0;
}

/* Are the elements contiguous, in C order? The tensor has some. */
static bool is_contiguous(const struct pickle_tensor *t)
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

static int limit_length(size_t length)
{
    return length < 100 ? (int)length : 100;
}

static int add_tensor(struct stored_tensors *s, const struct pickle_value *key,
                      const struct pickle_tensor *t, struct error *e)
{
    const struct pickle_storage *storage = t->storage;
    char name[201];
    uint64_t last, available = storage->bytes / (dtype_bits(t->dtype) / 8);
    snprintf(name, sizeof name, "%.*s", key->length < 200 ? (int)key->length : 200, key->text);
    if (t->rank > STORED_TENSORS_MAX_RANK)
        return error_set(e, "%s: tensor %s has %zu dimensions; at most %d are supported", s->file,
                         name, t->rank, STORED_TENSORS_MAX_RANK);
    if (find_last_element_in_storage(s, name, t, &last, e) < 0)
        return -1;
    if (last > available)
        return error_set(e, "%s: tensor %s needs element %llu of storage %.*s, which has only %llu",
                         s->file, name, (unsigned long long)last, (int)storage->key_length,
                         storage->key, (unsigned long long)available);
    struct stored_tensor new = {.dtype = t->dtype,
                                .rank = t->rank,
                                .shape = t->shape,
                                .stride = last == 0 || is_contiguous(t) ? NULL : t->stride,
                                .data = storage->data};
    size_t element_size = dtype_bits(t->dtype) / 8;
    if (last)
        new.data += t->offset *element_size;
    return stored_tensors_add(s, key->text, key->length, &new, e);
}

/* A tensor in the dict that was chosen, which must be readable and named. */
static int add_readable_tensor(struct stored_tensors *s, const struct pickle_value *key,
                               const struct pickle_value *value, struct error *e)
{
    char what[240];
    if (key->kind != PICKLE_STRING)
        return error_set(e, "%s: the key of a tensor is %s; save it under a string", s->file,
                         state_dict_describe(key, what, sizeof what));
    if (value->kind == PICKLE_UNREADABLE_TENSOR)
        return error_set(e, "%s: tensor %.*s %.*s", s->file, limit_length(key->length), key->text,
                         (int)value->length, value->text);
    return add_tensor(s, key, value->tensor, e);
}

/* Notes the values that are not tensors, with the name of one. */
static void print_note_of_skipped(const struct stored_tensors *s, size_t skipped,
                                  const struct pickle_value *key, const struct pickle_value *value)
{
    char what[240];
    bool is_named = key->kind == PICKLE_STRING;
    notes_print(s->notes, "%s: skipped %zu value%s not tensors (%.*s%s%s)", s->file, skipped,
                skipped == 1 ? " that is" : "s that are", is_named ? limit_length(key->length) : 0,
                is_named ? key->text : "", is_named ? ": " : "",
                state_dict_describe(value, what, sizeof what));
}

static int add_tensors_of_dict(struct stored_tensors *s, struct pickle_value *whole,
                               struct error *e)
{
    const struct pickle_value *dict = state_dict_find(s, whole, e), *key = NULL, *first = NULL;
    size_t skipped = 0;
    if (!dict)
        return -1;
    for (size_t i = 0; i < dict->n; i += 2) {
        const struct pickle_value *value = dict->items[i + 1];
        if (value->kind == PICKLE_TENSOR || value->kind == PICKLE_UNREADABLE_TENSOR) {
            if (add_readable_tensor(s, dict->items[i], value, e) < 0)
                return -1;
        } else if (skipped++ == 0) {
            key = dict->items[i];
            first = value;
        }
    }
    if (s->n == 0 && dict->n > 0)
        return error_set(e, "%s: the dict %.200s contains no tensors", s->file, s->key);
    if (skipped)
        print_note_of_skipped(s, skipped, key, first);
    return 0;
}

/* Sets a storage's data, of which `bytes` are there. */
static int set_storage_data(const char *file, struct pickle_storage *storage,
                            const unsigned char *data, uint64_t bytes, struct error *e)
{
    uint64_t size = storage->element_size ? storage->element_size : 1, needed;
    if (__builtin_mul_overflow(storage->elements, size, &needed) || needed > bytes)
        return error_set(e, "%s: storage %.*s has %llu elements, more than its %llu bytes hold",
                         file, (int)storage->key_length, storage->key,
                         (unsigned long long)storage->elements, (unsigned long long)bytes);
    storage->data = data;
    storage->bytes = needed;
    return 0;
}

/* ---- the zip format -------------------------------------------------------------------------- */

/* The record FOLDER/name; NULL if there is none. */
static const struct zip_entry *find_zip_record(const struct zip *z, const char *name)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", z->top_folder, name);
    return n > 0 && (size_t)n < sizeof path ? zip_find_entry(z, path) : NULL;
}

/* Newer files have a record "byteorder", which must be "little". */
static int check_byte_order(const struct zip *z, struct error *e)
{
    const struct zip_entry *r = find_zip_record(z, "byteorder");
    const unsigned char *text = r ? zip_find_entry_bytes(z, r, e) : NULL;
    if (!r)
        return 0;
    if (!text)
        return -1;
    if (r->size != 6 || memcmp(text, "little", 6) != 0)
        return error_set(e, "%s: the byte order is not little-endian", z->file);
    return 0;
}

static int find_storages_in_zip(const struct zip *z, struct pickle *p, struct error *e)
{
    for (struct pickle_storage *s = p->storages; s; s = s->next) {
        char name[PICKLE_MAX_KEY + 8];
        snprintf(name, sizeof name, "data/%.*s", (int)s->key_length, s->key);
        const struct zip_entry *r = find_zip_record(z, name);
        if (!r)
            return error_set(e, "%s: the record of storage %.*s is missing", z->file,
                             (int)s->key_length, s->key);
        const unsigned char *data = zip_find_entry_bytes(z, r, e);
        if (!data || set_storage_data(z->file, s, data, r->size, e) < 0)
            return -1;
    }
    return 0;
}

/* The record data.pkl, which becomes the header of `s`. */
static int find_data_pickle(struct stored_tensors *s, const struct zip *z, struct error *e)
{
    const struct zip_entry *r = find_zip_record(z, "data.pkl");
    if (find_zip_record(z, "constants.pkl"))
        return error_set(e,
                         "%s is a TorchScript archive, which contains a program; save the model's "
                         "state_dict instead",
                         s->file);
    if (!r)
        return error_set(e, "%s has no record data.pkl, so torch.save did not write it", s->file);
    const unsigned char *bytes = zip_find_entry_bytes(z, r, e);
    if (!bytes || check_byte_order(z, e) < 0)
        return -1;
    if (r->size > MAX_PICKLE)
        return error_set(e, "%s: data.pkl has %llu bytes; the maximum is %d", s->file,
                         (unsigned long long)r->size, MAX_PICKLE);
    s->header = bytes;
    s->header_size = r->size;
    return 0;
}

static int list_zip_tensors(struct stored_tensors *s, const struct zip *z, struct error *e)
{
    if (find_data_pickle(s, z, e) < 0)
        return -1;
    struct pickle p = {.file = s->file, .bytes = s->header, .size = s->header_size};
    struct pickle_value *dict = pickle_load(&p, e);
    int failed = !dict || find_storages_in_zip(z, &p, e) < 0 || add_tensors_of_dict(s, dict, e) < 0;
    pickle_free(&p);
    return failed ? -1 : 0;
}

/* ---- the legacy format ----------------------------------------------------------------------- */

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
        if (set_storage_data(p->file, *found, p->bytes + p->position, elements * size, e) < 0)
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

/* Five pickles: magic number, protocol, system information, the dict, and the keys of the storages
 * in the order in which these follow. */
static int list_legacy_tensors(struct stored_tensors *s, struct pickle *p, struct error *e)
{
    enum { MAGIC, PROTOCOL, SYSTEM, DICT, KEYS, N_PICKLES };
    struct pickle_value *pickles[N_PICKLES];
    size_t start[N_PICKLES + 1] = {0};
    for (size_t i = 0; i < N_PICKLES; i++) {
        pickles[i] = pickle_load(p, e);
        if (!pickles[i])
            return -1;
        start[i + 1] = p->position;
        if (p->position > MAX_PICKLE)
            return error_set(e, "%s: the pickles have more than %d bytes", s->file, MAX_PICKLE);
    }
    const struct pickle_value *little = pickle_value_dict_get(pickles[SYSTEM], "little_endian");
    if (pickles[PROTOCOL]->kind != PICKLE_INTEGER || pickles[PROTOCOL]->integer != 1001 ||
        !little || little->kind != PICKLE_BOOL || !little->integer)
        return error_set(e, "%s is not a little-endian torch file of protocol 1001", s->file);
    s->header = p->bytes + start[DICT];
    s->header_size = start[DICT + 1] - start[DICT];
    return sort_and_locate_legacy_storages(p, pickles[KEYS], e) < 0
               ? -1
               : add_tensors_of_dict(s, pickles[DICT], e);
}

/* ---- both ------------------------------------------------------------------------------------ */

int torch_file_recognise(const char *file, const unsigned char *bytes, size_t size, struct error *e)
{
    struct zip z;
    if (is_legacy_torch_file(bytes, size))
        return 1;
    if (size < 4 || memcmp(bytes, "PK\3\4", 4) != 0)
        return 0;
    if (zip_open(&z, file, bytes, size, e) < 0)
        return -1;
    bool found = find_zip_record(&z, "data.pkl") != NULL;
    const struct foreign_format *foreign = found ? NULL : foreign_format_of_zip(&z);
    zip_free(&z);
    return foreign ? foreign_format_set_error(file, foreign, e) : found;
}

int torch_file_list_tensors(struct stored_tensors *s, const unsigned char *bytes, size_t size,
                            struct error *e)
{
    if (is_legacy_torch_file(bytes, size)) {
        struct pickle p = {.file = s->file, .bytes = bytes, .size = size};
        int failed = list_legacy_tensors(s, &p, e);
        pickle_free(&p);
        return failed;
    }
    struct zip z;
    if (zip_open(&z, s->file, bytes, size, e) < 0)
        return -1;
    int failed = list_zip_tensors(s, &z, e);
    zip_free(&z);
    return failed;
}
