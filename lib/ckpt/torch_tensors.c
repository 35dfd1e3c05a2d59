#include "torch_tensors.h"

#include "notes.h"
#include "state_dict.h"

#include <stdio.h>

/* ---- storages -------------------------------------------------------------------------------- */

int torch_tensors_set_storage(const char *file, struct pickle_storage *storage,
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

/* ---- views of storages ----------------------------------------------------------------------- */

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

int torch_tensors_add_dict(struct stored_tensors *s, struct pickle_value *whole, struct error *e)
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
        return error_set(e, "%s: the dict \"%.200s\" contains no tensors", s->file, s->key);
    s->has_other_contents |= skipped > 0;
    if (skipped)
        print_note_of_skipped(s, skipped, key, first);
    return 0;
}
