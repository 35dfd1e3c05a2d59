#include "safetensors.h"

#include "little_endian.h"
#include "safetensors_scan.h"
#include "strict_json.h"

#include <stdlib.h>
#include <string.h>

#define MAX_HEADER 100000000 /* the reference's limit */

/* The bytes of one tensor, as offsets in the file's data. */
struct data_range {
    uint64_t begin, end;
    const char *name;
};

/* The data of the file, and the range of each tensor in it. */
struct file_data {
    const unsigned char *bytes; /* NULL: they are in a pipe, and `size` is SIZE_MAX */
    size_t size;
    struct data_range *ranges; /* [capacity of the list of tensors] */
};

/* ---- one tensor ------------------------------------------------------------------------------ */

/* Reads a JSON array of at most `max` non-negative integers. Returns their number, -1 if it is
 * not such an array. */
static long read_integer_array(const json_t *array, uint64_t *to, size_t max)
{
    size_t n = json_array_size(array);
    if (!json_is_array(array) || n > max)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(array, i);
        if (!json_is_integer(item) || json_integer_value(item) < 0)
            return -1;
        to[i] = (uint64_t)json_integer_value(item);
    }
    return (long)n;
}

static int check_offsets(const struct stored_tensors *s, const char *name,
                         const struct stored_tensor *t, const uint64_t *offsets, size_t data_size,
                         struct error *e)
{
    unsigned long long begin = offsets[0], end = offsets[1];
    size_t elements, bytes;
    if (begin > end)
        return error_set(e, "%s: tensor %.200s: its data_offsets %llu and %llu are reversed",
                         s->file, name, begin, end);
    if (end > data_size)
        return error_set(
            e,
            "%s: tensor %.200s ends at byte %llu of the data, but the file has only %zu: is it "
            "still being downloaded?",
            s->file, name, end, data_size);
    if (stored_tensors_check_size(s->file, name, t, &elements, &bytes, e) < 0)
        return -1;
    if (bytes != end - begin)
        return error_set(e, "%s: tensor %.200s needs %zu bytes, but its data_offsets span %llu",
                         s->file, name, bytes, end - begin);
    return 0;
}

/* Reads dtype, shape and data_offsets of {"dtype": "F32", "shape": [2, 3], "data_offsets":
 * [0, 24]}. */
static int read_tensor_entry(const struct stored_tensors *s, const char *name, const json_t *entry,
                             struct scanned_tensor *t, struct error *e)
{
    t->name = name;
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype)
        return error_set(e, "%s: tensor %.200s has no dtype", s->file, name);
    t->dtype = dtype_from_name(dtype);
    if (t->dtype == DTYPE_NONE)
        return error_set(e, "%s: tensor %.200s has the unknown dtype %.40s", s->file, name, dtype);
    long rank =
        read_integer_array(json_object_get(entry, "shape"), t->shape, STORED_TENSORS_MAX_RANK);
    if (rank < 0)
        return error_set(e,
                         "%s: tensor %.200s: its shape is not an array of at most %d non-negative "
                         "integers",
                         s->file, name, STORED_TENSORS_MAX_RANK);
    t->rank = (size_t)rank;
    if (read_integer_array(json_object_get(entry, "data_offsets"), t->offsets, 2) != 2)
        return error_set(e, "%s: tensor %.200s: its data_offsets are not two offsets", s->file,
                         name);
    return 0;
}

static int add_tensor(struct stored_tensors *s, struct file_data *data,
                      const struct scanned_tensor *from, struct error *e)
{
    const struct stored_tensor t = {.dtype = from->dtype,
                                    .rank = from->rank,
                                    .shape = from->shape,
                                    .offset = from->offsets[0],
                                    .data = data->bytes ? data->bytes + from->offsets[0] : NULL};
    size_t capacity = s->capacity;
    if (check_offsets(s, from->name, &t, from->offsets, data->size, e) < 0 ||
        stored_tensors_add(s, from->name, strlen(from->name), &t, e) < 0)
        return -1;
    if (s->capacity > capacity)
        data->ranges = mem_resize(data->ranges, s->capacity, sizeof *data->ranges);
    data->ranges[s->n - 1] =
        (struct data_range){from->offsets[0], from->offsets[1], s->list[s->n - 1].name};
    return 0;
}

/* ---- the header ------------------------------------------------------------------------------ */

/* "__metadata__": {"format": "pt"} */
static int check_metadata(const struct stored_tensors *s, json_t *metadata, struct error *e)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return error_set(e, "%s: __metadata__ is not a JSON object", s->file);
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return error_set(e, "%s: __metadata__: the value of %.200s is not a string", s->file,
                             key);
    }
    return 0;
}

static int compare_data_ranges(const void *a, const void *b)
{
    const struct data_range *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* Checks that the tensors fill the data without holes or overlaps. A pipe has as many bytes as they
 * need. */
static int check_tensors_cover_data(const struct stored_tensors *s, struct file_data *data,
                                    struct error *e)
{
    uint64_t end = 0;
    if (s->n)
        qsort(data->ranges, s->n, sizeof *data->ranges, compare_data_ranges);
    for (size_t i = 0; i < s->n; i++) {
        const struct data_range *r = &data->ranges[i];
        if (r->begin < end)
            return error_set(e, "%s: the tensors %.200s and %.200s overlap", s->file,
                             data->ranges[i - 1].name, r->name);
        if (r->begin > end)
            return error_set(e, "%s: %llu bytes before tensor %.200s belong to no tensor", s->file,
                             (unsigned long long)(r->begin - end), r->name);
        end = r->end;
    }
    if (!data->bytes)
        data->size = end;
    if (end < data->size)
        return error_set(e, "%s: bytes at its end belong to no tensor (%llu)", s->file,
                         (unsigned long long)(data->size - end));
    return 0;
}

static int add_tensors_of_header(struct stored_tensors *s, struct file_data *data, json_t *header,
                                 struct error *e)
{
    const char *name;
    json_t *entry;
    struct scanned_tensor t;
    json_object_foreach(header, name, entry)
    {
        int failed = strcmp(name, "__metadata__") == 0
                         ? check_metadata(s, entry, e)
                         : read_tensor_entry(s, name, entry, &t, e) || add_tensor(s, data, &t, e);
        if (failed)
            return -1;
    }
    return check_tensors_cover_data(s, data, e);
}

/* The same without a tree of JSON values, which takes most of the time of a large header. -1: it is
 * not in the usual form, or something is wrong. */
static int add_scanned_tensors(struct stored_tensors *s, struct file_data *data)
{
    const char *header = (const char *)s->header;
    struct safetensors_scan scan = {.at = header, .end = header + s->header_size};
    struct scanned_tensor t;
    struct error ignored;
    int more;
    while ((more = safetensors_scan_next(&scan, &t)) > 0 && !add_tensor(s, data, &t, &ignored))
        ;
    safetensors_scan_free(&scan);
    return more == 0 ? check_tensors_cover_data(s, data, &ignored) : -1;
}

int safetensors_header_length(const char *file, const unsigned char *bytes, uint64_t *length,
                              struct error *e)
{
    *length = little_endian_read(bytes, 8);
    if (*length > MAX_HEADER)
        return error_set(e, "%s: the header length is %llu bytes; the maximum is %d", file,
                         (unsigned long long)*length, MAX_HEADER);
    return 0;
}

/* Sets s->header from the first eight bytes. */
static int locate_json_header(struct stored_tensors *s, const unsigned char *bytes, size_t size,
                              struct error *e)
{
    uint64_t length;
    if (size < 8)
        return error_set(e, "%s has %zu bytes; a safetensors file has at least 8", s->file, size);
    if (safetensors_header_length(s->file, bytes, &length, e) < 0)
        return -1;
    if (length > size - 8)
        return error_set(e,
                         "%s: the header length is %llu bytes, but the file has only %zu more: is "
                         "it still being downloaded?",
                         s->file, (unsigned long long)length, size - 8);
    s->header = bytes + 8;
    s->header_size = length;
    return 0;
}

/* Adds the tensors of s->header. */
static int list_tensors_of_header(struct stored_tensors *s, struct file_data *data, struct error *e)
{
    int failed = add_scanned_tensors(s, data);
    if (failed) {
        stored_tensors_free(s);
        json_t *header = strict_json_parse(s->file, "its header", s->header, s->header_size, e);
        failed = header ? add_tensors_of_header(s, data, header, e) : -1;
        json_decref(header);
    }
    free(data->ranges);
    return failed;
}

int safetensors_list_tensors(struct stored_tensors *s, const unsigned char *bytes, size_t size,
                             struct error *e)
{
    if (locate_json_header(s, bytes, size, e) < 0)
        return -1;
    struct file_data data = {.bytes = s->header + s->header_size,
                             .size = size - 8 - s->header_size};
    return list_tensors_of_header(s, &data, e);
}

int safetensors_list_piped_tensors(struct stored_tensors *s, uint64_t *data_size, struct error *e)
{
    struct file_data data = {.size = SIZE_MAX};
    int failed = list_tensors_of_header(s, &data, e);
    *data_size = data.size;
    return failed;
}

int safetensors_read_metadata(const struct stored_tensors *s, json_t **metadata, struct error *e)
{
    *metadata = NULL;
    json_t *header = strict_json_parse(s->file, "its header", s->header, s->header_size, e);
    if (!header)
        return -1;
    *metadata = json_incref(json_object_get(header, "__metadata__"));
    json_decref(header);
    return *metadata != NULL;
}
