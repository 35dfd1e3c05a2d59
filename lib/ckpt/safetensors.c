#include "safetensors.h"

#include "strict_json.h"

#include <stdlib.h>
#include <string.h>

#define MAX_HEADER 100000000 /* the reference's limit */

/* The file being read, and where in its data each tensor lies. */
struct range {
    uint64_t begin, end;
    const char *name;
};
struct layout {
    const unsigned char *data;
    size_t size;
    struct range *ranges;
};

/* Unsigned integers of a JSON array into `to`; their number, or -1 if it is not such an array or
 * has more than `room`. */
static long read_integers(const json_t *array, uint64_t *to, size_t room)
{
    size_t n = json_array_size(array);
    if (!json_is_array(array) || n > room)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(array, i);
        if (!json_is_integer(item) || json_integer_value(item) < 0)
            return -1;
        to[i] = (uint64_t)json_integer_value(item);
    }
    return (long)n;
}

static int check_range(const struct stored_tensors *w, const char *name,
                       const struct stored_tensor *t, const uint64_t *range, size_t data_size,
                       struct error *e)
{
    unsigned long long begin = range[0], end = range[1];
    size_t elements, bytes;
    if (begin > end)
        return error_set(e, "%s: tensor %.200s: its data_offsets %llu and %llu run backwards",
                         w->file, name, begin, end);
    if (end > data_size)
        return error_set(e,
                         "%s: tensor %.200s ends at byte %llu of the data, the file has only %zu",
                         w->file, name, end, data_size);
    if (stored_tensors_check_size(w->file, name, t, &elements, &bytes, e) < 0)
        return -1;
    if (bytes != end - begin)
        return error_set(e, "%s: tensor %.200s takes %zu bytes, its data_offsets give it %llu",
                         w->file, name, bytes, end - begin);
    return 0;
}

/* "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]} */
static int add_tensor(struct stored_tensors *w, struct layout *l, const char *name,
                      const json_t *entry, struct error *e)
{
    uint64_t shape[STORED_TENSORS_MAX_RANK], range[2];
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype)
        return error_set(e, "%s: tensor %.200s has no dtype", w->file, name);
    struct stored_tensor t = {.dtype = dtype_from_name(dtype), .shape = shape};
    if (t.dtype == DTYPE_NONE)
        return error_set(e, "%s: tensor %.200s has the unknown dtype %.40s", w->file, name, dtype);
    long rank = read_integers(json_object_get(entry, "shape"), shape, STORED_TENSORS_MAX_RANK);
    if (rank < 0)
        return error_set(e, "%s: tensor %.200s: its shape is not a list of at most %d sizes",
                         w->file, name, STORED_TENSORS_MAX_RANK);
    t.rank = (size_t)rank;
    if (read_integers(json_object_get(entry, "data_offsets"), range, 2) != 2)
        return error_set(e, "%s: tensor %.200s: its data_offsets are not two offsets", w->file,
                         name);
    if (check_range(w, name, &t, range, l->size, e) < 0)
        return -1;
    t.data = l->data + range[0];
    if (stored_tensors_add(w, name, strlen(name), &t, e) < 0)
        return -1;
    l->ranges[w->n - 1] = (struct range){range[0], range[1], w->list[w->n - 1].name};
    return 0;
}

/* "__metadata__": {"format": "pt"} */
static int check_metadata(const struct stored_tensors *w, json_t *metadata, struct error *e)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return error_set(e, "%s: its __metadata__ is not an object", w->file);
    json_object_foreach(metadata, key, value) if (!json_is_string(value)) return error_set(
        e, "%s: the value of %.200s in its __metadata__ is not a text", w->file, key);
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The tensors must fill the data, one behind the other. */
static int check_layout(const struct stored_tensors *w, struct layout *l, struct error *e)
{
    uint64_t end = 0;
    qsort(l->ranges, w->n, sizeof *l->ranges, by_place);
    for (size_t i = 0; i < w->n; i++) {
        const struct range *r = &l->ranges[i];
        if (r->begin < end)
            return error_set(e, "%s: the tensors %.200s and %.200s overlap", w->file,
                             l->ranges[i - 1].name, r->name);
        if (r->begin > end)
            return error_set(e, "%s: %llu bytes before tensor %.200s belong to no tensor", w->file,
                             (unsigned long long)(r->begin - end), r->name);
        end = r->end;
    }
    if (end < l->size)
        return error_set(e, "%s: %llu bytes at its end belong to no tensor", w->file,
                         (unsigned long long)(l->size - end));
    return 0;
}

static int read_header(struct stored_tensors *w, struct layout *l, json_t *header, struct error *e)
{
    const char *name;
    json_t *entry;
    json_object_foreach(header, name, entry)
    {
        int failed = strcmp(name, "__metadata__") == 0 ? check_metadata(w, entry, e)
                                                       : add_tensor(w, l, name, entry, e);
        if (failed)
            return -1;
    }
    return check_layout(w, l, e);
}

int safetensors_list_tensors(struct stored_tensors *w, const unsigned char *bytes, size_t size,
                             struct error *e)
{
    if (size < 8)
        return error_set(e, "%s has %zu bytes; a safetensors file has at least 8", w->file, size);
    uint64_t length = little_endian_read(bytes, 8);
    if (length > MAX_HEADER)
        return error_set(e, "%s: its header claims %llu bytes; %d are the most", w->file,
                         (unsigned long long)length, MAX_HEADER);
    if (length > size - 8)
        return error_set(e, "%s: its header claims %llu bytes, the file has only %zu behind it",
                         w->file, (unsigned long long)length, size - 8);
    w->header = bytes + 8;
    w->header_size = length;
    json_t *header = strict_json_parse(w->file, "its header", w->header, length, e);
    if (!header)
        return -1;
    struct layout l = {.data = bytes + 8 + length,
                       .size = size - 8 - length,
                       .ranges = mem_alloc(json_object_size(header), sizeof *l.ranges)};
    int failed = read_header(w, &l, header, e);
    free(l.ranges);
    json_decref(header);
    return failed;
}
