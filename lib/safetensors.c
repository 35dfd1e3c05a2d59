#include "safetensors.h"

#include <jansson.h>
#include <stdlib.h>

#define MAX_HEADER 100000000 /* the reference's limit */

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

/* "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]} */
static int add_tensor(struct weights *w, const char *name, const json_t *entry,
                      const unsigned char *data, size_t data_size, struct error *e)
{
    uint64_t shape[WEIGHTS_MAX_RANK], range[2];
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype)
        return error_set(e, "%s: tensor %.200s has no dtype", w->file, name);
    struct weight t = {.dtype = dtype_from_name(dtype), .shape = shape};
    if (t.dtype == DTYPE_NONE)
        return error_set(e, "%s: tensor %.200s has the unknown dtype %.40s", w->file, name, dtype);
    long rank = read_integers(json_object_get(entry, "shape"), shape, WEIGHTS_MAX_RANK);
    if (rank < 0)
        return error_set(e, "%s: tensor %.200s: its shape is not a list of at most %d sizes",
                         w->file, name, WEIGHTS_MAX_RANK);
    t.rank = (size_t)rank;
    if (read_integers(json_object_get(entry, "data_offsets"), range, 2) != 2)
        return error_set(e, "%s: tensor %.200s: its data_offsets are not two offsets", w->file,
                         name);
    if (range[0] > range[1] || range[1] > data_size)
        return error_set(e,
                         "%s: tensor %.200s: its data_offsets are %llu and %llu, the file has %zu "
                         "bytes of data",
                         w->file, name, (unsigned long long)range[0], (unsigned long long)range[1],
                         data_size);
    size_t elements, bytes;
    if (weights_size(w->file, name, &t, &elements, &bytes, e) < 0)
        return -1;
    if (bytes != range[1] - range[0])
        return error_set(e, "%s: tensor %.200s takes %zu bytes, its data_offsets give it %llu",
                         w->file, name, bytes, (unsigned long long)(range[1] - range[0]));
    t.data = data + range[0];
    return weights_add(w, name, json_string_length(json_object_get(entry, "dtype")) ? strlen(name) : 0,
                       &t, e);
}
