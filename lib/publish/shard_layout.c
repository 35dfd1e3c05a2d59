#include "shard_layout.h"

#include "little_endian.h"
#include "weight_names.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_MAX 100000000 /* bytes of a safetensors header that readers accept */

/* ---- shards ---------------------------------------------------------------------------------- */

static uint64_t compute_tensor_bytes(const struct shard_layout_spec *spec, size_t i)
{
    uint64_t elements = 1;
    size_t bits = dtype_bits(spec->dtypes[i]);
    for (size_t d = 0; d < spec->ranks[i]; d++)
        elements *= spec->shapes[i][d];
    return bits % 8 ? elements * bits / 8 : elements * (bits / 8);
}

/* Assigns the tensors, in their order, to shards. Sets size, shard and offsets of `tensors` unless
 * it is NULL. Returns the number of shards. */
static size_t assign_tensors_to_shards(const struct shard_layout_spec *spec, uint64_t shard_size,
                                       struct placed_tensor *tensors)
{
    size_t shard = 0;
    uint64_t offset = 0, total_offset = 0;
    for (size_t i = 0; i < spec->n; i++) {
        uint64_t size = compute_tensor_bytes(spec, i);
        bool full = offset > 0 && (size > shard_size || offset > shard_size - size);
        /* Tensors that keep their order can be misaligned for their dtype. */
        size_t element = dtype_bits(spec->dtypes[i]) / 8;
        bool misaligned = spec->keeps_order && element > 1 && offset % element != 0;
        if ((full && !spec->single_file_name) || misaligned) {
            shard++;
            offset = 0;
        }
        if (tensors) {
            tensors[i].size = size;
            tensors[i].shard = shard;
            tensors[i].offset = offset;
            tensors[i].total_offset = total_offset;
        }
        offset += size;
        total_offset += size;
    }
    return shard + 1;
}

uint64_t shard_layout_balanced_size(const struct shard_layout_spec *spec, uint64_t n)
{
    uint64_t low = 1, high = 1;
    for (size_t i = 0; i < spec->n; i++)
        high += compute_tensor_bytes(spec, i);
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (assign_tensors_to_shards(spec, middle, NULL) <= n)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* By shard, then by width of the dtype, the widest first; then in the given order. */
static int compare_shard_and_element_width(const void *a, const void *b)
{
    const struct placed_tensor *s = *(const struct placed_tensor *const *)a;
    const struct placed_tensor *t = *(const struct placed_tensor *const *)b;
    size_t m = dtype_bits(s->dtype), n = dtype_bits(t->dtype);
    if (s->shard != t->shard)
        return s->shard < t->shard ? -1 : 1;
    if (m != n)
        return m > n ? -1 : 1;
    return s < t ? -1 : s > t;
}

/* The tensors in the order of their data, which aligns every tensor for its dtype; sets their
 * offsets. The caller frees the list. */
static struct placed_tensor **order_tensors_and_set_offsets(struct shard_layout *l)
{
    struct placed_tensor **order = mem_alloc(l->n, sizeof *order);
    uint64_t offset = 0;
    for (size_t i = 0; i < l->n; i++)
        order[i] = &l->tensors[i];
    if (l->keeps_order)
        return order;
    qsort(order, l->n, sizeof *order, compare_shard_and_element_width);
    for (size_t i = 0; i < l->n; i++) {
        if (i > 0 && order[i]->shard != order[i - 1]->shard)
            offset = 0;
        order[i]->offset = offset;
        offset += order[i]->size;
    }
    return order;
}

/* ---- headers --------------------------------------------------------------------------------- */

static json_t *make_tensor_json(const struct placed_tensor *t)
{
    json_t *shape = json_array();
    for (size_t d = 0; d < t->rank; d++)
        json_array_append_new(shape, json_integer((json_int_t)t->shape[d]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_name(t->dtype), "shape", shape,
                     "data_offsets", (json_int_t)t->offset, (json_int_t)(t->offset + t->size));
}

static int add_metadata_to_header_json(const struct shard_layout *l, json_t *header,
                                       struct error *e)
{
    json_t *metadata = json_object();
    json_object_set_new(metadata, "format", json_string("pt"));
    json_object_set_new(header, "__metadata__", metadata);
    for (size_t i = 0; i < l->n_metadata; i++)
        if (json_object_set_new(metadata, l->metadata[i][0], json_string(l->metadata[i][1])))
            return error_set(e, "metadata %s is not UTF-8", l->metadata[i][0]);
    return 0;
}

static int add_tensors_to_header_json(json_t *header, struct placed_tensor *const *tensors,
                                      size_t n, struct error *e)
{
    for (size_t i = 0; i < n; i++) {
        const char *name = tensors[i]->name;
        if (json_object_get(header, name))
            return error_set(e, "two tensors are named %s", name);
        if (json_object_set_new(header, name, make_tensor_json(tensors[i])))
            return error_set(e, "tensor name %s is not UTF-8", name);
    }
    return 0;
}

/* The JSON text of a shard's header; NULL on error. The caller frees. */
static char *format_header_json(const struct shard_layout *l, struct placed_tensor *const *tensors,
                                size_t n, const char *target, struct error *e)
{
    json_t *header = json_object();
    bool failed = add_metadata_to_header_json(l, header, e) < 0 ||
                  add_tensors_to_header_json(header, tensors, n, e) < 0;
    char *text = failed ? NULL : json_dumps(header, JSON_COMPACT);
    json_decref(header);
    if (failed || (text && strlen(text) <= HEADER_MAX))
        return text;
    free(text);
    error_set(e, "the header of %s would have more than %d bytes; use smaller shards", target,
              HEADER_MAX);
    return NULL;
}

/* Encodes a header: eight bytes of length (little-endian), then JSON, padded with spaces to a
 * multiple of eight. */
static int encode_header(const struct shard_layout *l, struct shard *shard,
                         struct placed_tensor *const *tensors, size_t n, const char *target,
                         struct error *e)
{
    char *text = format_header_json(l, tensors, n, target, e);
    if (!text)
        return -1;
    size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    free(shard->header);
    shard->header_size = 8 + padded;
    shard->header = mem_alloc(shard->header_size, 1);
    little_endian_write(shard->header, padded, 8);
    memset(shard->header + 8, ' ', padded);
    memcpy(shard->header + 8, text, length);
    free(text);
    return 0;
}

static int encode_headers(struct shard_layout *l, const char *target, struct error *e)
{
    struct placed_tensor **order = order_tensors_and_set_offsets(l);
    int failed = 0;
    for (size_t i = 0, first = 0; !failed && i < l->n_shards; i++) {
        size_t n = 0;
        while (first + n < l->n && order[first + n]->shard == i)
            n++;
        failed = encode_header(l, &l->shards[i], order + first, n, target, e);
        first += n;
    }
    free(order);
    return failed;
}

/* ---- the layout ------------------------------------------------------------------------------ */

static const char *shard_name(struct shard_layout *l, const struct shard_layout_spec *spec,
                              size_t i)
{
    if (spec->single_file_name)
        return arena_copy_text(&l->arena, spec->single_file_name);
    return weight_names_of_shard(spec->stem, i, l->n_shards, &l->arena);
}

static void copy_metadata(struct shard_layout *l, size_t n, const char *const (*metadata)[2])
{
    l->n_metadata = n;
    l->metadata = arena_alloc(&l->arena, n, sizeof *l->metadata);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < 2; j++)
            l->metadata[i][j] = arena_copy_text(&l->arena, metadata[i][j]);
}

struct shard_layout *shard_layout_new(const struct shard_layout_spec *spec, const char *target,
                                      struct error *e)
{
    struct shard_layout *l = mem_alloc(1, sizeof *l);
    struct arena *a = &l->arena;
    l->n = spec->n;
    l->keeps_order = spec->keeps_order;
    l->tensors = arena_alloc(a, spec->n, sizeof *l->tensors);
    l->n_shards = assign_tensors_to_shards(spec, spec->shard_size, l->tensors);
    l->shards = arena_alloc(a, l->n_shards, sizeof *l->shards);
    for (size_t i = 0; i < l->n_shards; i++)
        l->shards[i].name = shard_name(l, spec, i);
    l->index_name = l->n_shards > 1 ? weight_names_of_index(spec->stem, a) : NULL;
    for (size_t i = 0; i < spec->n; i++) {
        struct placed_tensor *t = &l->tensors[i];
        t->name = arena_copy_text(a, spec->names[i]);
        t->dtype = spec->dtypes[i];
        t->rank = spec->ranks[i];
        t->shape = arena_copy(a, spec->shapes[i], spec->ranks[i] * sizeof *t->shape);
        l->shards[t->shard].data_size += t->size;
    }
    copy_metadata(l, spec->n_metadata, spec->metadata);
    if (encode_headers(l, target, e) == 0)
        return l;
    shard_layout_free(l);
    return NULL;
}

struct shard_layout *shard_layout_new_encoded(const char *name, size_t n, size_t n_metadata,
                                              const char *const (*metadata)[2],
                                              const struct encoded_header *encoded)
{
    struct shard_layout *l = mem_alloc(1, sizeof *l);
    l->n = n;
    l->tensors = arena_alloc(&l->arena, n, sizeof *l->tensors);
    l->n_shards = 1;
    l->shards = arena_alloc(&l->arena, 1, sizeof *l->shards);
    l->shards[0].name = arena_copy_text(&l->arena, name);
    copy_metadata(l, n_metadata, metadata);
    l->encoded = arena_copy(&l->arena, encoded, sizeof *encoded);
    l->encoded->text_offsets =
        arena_copy(&l->arena, encoded->text_offsets, n_metadata * sizeof *encoded->text_offsets);
    return l;
}

void shard_layout_free(struct shard_layout *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->n_shards; i++)
        free(l->shards[i].header);
    arena_free(&l->arena);
    free(l);
}

/* The index of a metadata key; l->n_metadata if it was not declared. */
static size_t find_metadata(const struct shard_layout *l, const char *key)
{
    size_t i = 0;
    while (i < l->n_metadata && strcmp(l->metadata[i][0], key) != 0)
        i++;
    return i;
}

/* Replaces the text of metadata i in an encoded header by one that is at least as long. */
static void replace_encoded_text(struct shard_layout *l, size_t i, const char *value)
{
    struct encoded_header *h = l->encoded;
    struct shard *s = &l->shards[0];
    size_t at = h->text_offsets[i], old = strlen(l->metadata[i][1]), new = strlen(value);
    size_t used = h->used + new - old, padded = used + h->alignment - 1;
    padded -= padded % h->alignment;
    unsigned char *header = mem_alloc(padded, 1);
    memcpy(header, s->header, at);
    little_endian_write(header + at - 8, new, 8);
    memcpy(header + at, value, new);
    memcpy(header + at + new, s->header + at + old, h->used - at - old);
    for (size_t k = i + 1; k < l->n_metadata; k++)
        h->text_offsets[k] += new - old;
    h->used = used;
    free(s->header);
    s->header = header;
    s->header_size = padded;
}

static int set_metadata(struct shard_layout *l, size_t i, const char *value, const char *target,
                        struct error *e)
{
    if (i < l->n_metadata && l->encoded)
        replace_encoded_text(l, i, value);
    if (i < l->n_metadata)
        l->metadata[i][1] = value;
    return l->encoded ? 0 : encode_headers(l, target, e);
}

int shard_layout_set_metadata(struct shard_layout *l, const char *key, const char *value,
                              const char *target, struct error *e)
{
    size_t i = find_metadata(l, key);
    if (i < l->n_metadata && strlen(l->metadata[i][1]) != strlen(value))
        return error_set(e, "metadata %s: the new value differs in length from the old one", key);
    return set_metadata(l, i, arena_copy_text(&l->arena, value), target, e);
}

int shard_layout_set_longer_metadata(struct shard_layout *l, const char *key, const char *value,
                                     const char *target, struct error *e)
{
    size_t i = find_metadata(l, key);
    int least = i < l->n_metadata ? (int)strlen(l->metadata[i][1]) : 0;
    return set_metadata(l, i, arena_printf(&l->arena, "%-*s", least, value), target, e);
}

char *shard_layout_index_json(const struct shard_layout *l)
{
    json_t *map = json_object();
    uint64_t total = 0;
    for (size_t i = 0; i < l->n; i++) {
        const struct placed_tensor *t = &l->tensors[i];
        json_object_set_new(map, t->name, json_string(l->shards[t->shard].name));
        total += t->size;
    }
    json_t *index =
        json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    char *text = l->index_name ? json_dumps(index, JSON_INDENT(2)) : NULL;
    json_decref(index);
    return text;
}
