#include "shard_layout.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_MAX 100000000 /* bytes of a safetensors header that readers take */

/* ---- where everything lies ------------------------------------------------------------------- */

static uint64_t tensor_size(const struct shard_layout_spec *w, size_t i)
{
    uint64_t elements = 1;
    size_t bits = dtype_bits(w->dtypes[i]);
    for (size_t d = 0; d < w->ranks[i]; d++)
        elements *= w->shapes[i][d];
    return bits % 8 ? elements * bits / 8 : elements * (bits / 8);
}

/* Cuts the tensors, in their order, into files; says where each lies unless `places` is NULL.
 * Returns how many files there are. */
static size_t cut(const struct shard_layout_spec *w, uint64_t shard_size, struct place *places)
{
    size_t shard = 0;
    uint64_t used = 0, start = 0;
    for (size_t i = 0; i < w->n; i++) {
        uint64_t size = tensor_size(w, i);
        bool full = used > 0 && (size > shard_size || used > shard_size - size);
        /* In an archive the data stand as they come; each must be aligned for its dtype. */
        size_t element = dtype_bits(w->dtypes[i]) / 8;
        bool crooked = w->as_they_come && element > 1 && used % element != 0;
        if ((full && !w->whole_name) || crooked) {
            shard++;
            used = 0;
        }
        if (places) {
            places[i].size = size;
            places[i].shard = shard;
            places[i].offset = used;
            places[i].start = start;
        }
        used += size;
        start += size;
    }
    return shard + 1;
}

uint64_t shard_layout_balanced_size(const struct shard_layout_spec *w, uint64_t files)
{
    uint64_t low = 1, high = 1;
    for (size_t i = 0; i < w->n; i++)
        high += tensor_size(w, i);
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (cut(w, middle, NULL) <= files)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static int by_alignment(const void *a, const void *b)
{
    const struct place *s = *(const struct place *const *)a, *t = *(const struct place *const *)b;
    size_t m = dtype_bits(s->dtype), n = dtype_bits(t->dtype);
    if (s->shard != t->shard)
        return s->shard < t->shard ? -1 : 1;
    if (m != n)
        return m > n ? -1 : 1;
    return s < t ? -1 : s > t;
}

/* The tensors by shard, and in each in the order of their data: the widest dtype first, so that
 * all are aligned. */
static struct place **arrange(struct shard_layout *s)
{
    struct place **order = mem_alloc(s->n, sizeof *order);
    uint64_t used = 0;
    for (size_t i = 0; i < s->n; i++)
        order[i] = &s->places[i];
    if (s->as_they_come)
        return order;
    qsort(order, s->n, sizeof *order, by_alignment);
    for (size_t i = 0; i < s->n; i++) {
        if (i > 0 && order[i]->shard != order[i - 1]->shard)
            used = 0;
        order[i]->offset = used;
        used += order[i]->size;
    }
    return order;
}

static json_t *tensor_json(const struct place *t)
{
    json_t *shape = json_array();
    for (size_t d = 0; d < t->rank; d++)
        json_array_append_new(shape, json_integer((json_int_t)t->shape[d]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_name(t->dtype), "shape", shape,
                     "data_offsets", (json_int_t)t->offset, (json_int_t)(t->offset + t->size));
}

/* The header of one shard as JSON, given its tensors in the order of their data. */
static json_t *shard_json(const struct shard_layout *s, struct place *const *tensors, size_t n,
                          struct error *e)
{
    json_t *header = json_object(), *metadata = json_object();
    json_object_set_new(metadata, "format", json_string("pt"));
    json_object_set_new(header, "__metadata__", metadata);
    for (size_t i = 0; i < s->n_metadata; i++)
        if (json_object_set_new(metadata, s->metadata[i][0], json_string(s->metadata[i][1]))) {
            error_set(e, "metadata %s is not UTF-8", s->metadata[i][0]);
            json_decref(header);
            return NULL;
        }
    for (size_t i = 0; i < n; i++) {
        const char *name = tensors[i]->name;
        bool twice = json_object_get(header, name) != NULL;
        if (twice || json_object_set_new(header, name, tensor_json(tensors[i]))) {
            error_set(e, twice ? "two tensors are called %s" : "tensor name %s is not UTF-8", name);
            json_decref(header);
            return NULL;
        }
    }
    return header;
}

/* Eight bytes of length (little-endian), then JSON, with spaces to a multiple of eight. */
static int encode_header(const struct shard_layout *s, struct shard *file,
                         struct place *const *tensors, size_t n, const char *target,
                         struct error *e)
{
    json_t *json = shard_json(s, tensors, n, e);
    if (!json)
        return -1;
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    size_t length = text ? strlen(text) : 0, padded = (length + 7) / 8 * 8;
    if (!text || padded > HEADER_MAX) {
        free(text);
        return error_set(e, "the header of %s would be too long for readers; cut smaller shards",
                         target);
    }
    free(file->head);
    file->head_size = 8 + padded;
    file->head = mem_alloc(file->head_size, 1);
    for (size_t i = 0; i < 8; i++)
        file->head[i] = (unsigned char)((uint64_t)padded >> 8 * i);
    memset(file->head + 8, ' ', padded);
    memcpy(file->head + 8, text, length);
    free(text);
    return 0;
}

static int encode_headers(struct shard_layout *s, const char *target, struct error *e)
{
    struct place **order = arrange(s);
    int failed = 0;
    for (size_t i = 0, first = 0; !failed && i < s->n_files; i++) {
        size_t n = 0;
        while (first + n < s->n && order[first + n]->shard == i)
            n++;
        failed = encode_header(s, &s->files[i], order + first, n, target, e);
        first += n;
    }
    free(order);
    return failed;
}

/* ---- a plan ---------------------------------------------------------------------------------- */

static const char *file_name(struct shard_layout *s, const struct shard_layout_spec *w, size_t i)
{
    if (w->whole_name)
        return arena_copy_text(&s->arena, w->whole_name);
    if (s->n_files == 1)
        return "model.safetensors";
    return arena_printf(&s->arena, "model-%05zu-of-%05zu.safetensors", i + 1, s->n_files);
}

struct shard_layout *shard_layout_new(const struct shard_layout_spec *w, const char *target,
                                      struct error *e)
{
    struct shard_layout *s = mem_alloc(1, sizeof *s);
    struct arena *a = &s->arena;
    s->n = w->n;
    s->as_they_come = w->as_they_come;
    s->places = arena_alloc(a, w->n, sizeof *s->places);
    s->n_files = cut(w, w->shard_size, s->places);
    s->files = arena_alloc(a, s->n_files, sizeof *s->files);
    for (size_t i = 0; i < s->n_files; i++)
        s->files[i].name = file_name(s, w, i);
    for (size_t i = 0; i < w->n; i++) {
        struct place *t = &s->places[i];
        t->name = arena_copy_text(a, w->names[i]);
        t->dtype = w->dtypes[i];
        t->rank = w->ranks[i];
        t->shape = arena_copy(a, w->shapes[i], w->ranks[i] * sizeof *t->shape);
        s->files[t->shard].size += t->size;
    }
    s->n_metadata = w->n_metadata;
    s->metadata = arena_alloc(a, w->n_metadata, sizeof *s->metadata);
    for (size_t i = 0; i < w->n_metadata; i++)
        for (size_t j = 0; j < 2; j++)
            s->metadata[i][j] = arena_copy_text(a, w->metadata[i][j]);
    if (encode_headers(s, target, e) == 0)
        return s;
    shard_layout_free(s);
    return NULL;
}

void shard_layout_free(struct shard_layout *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_files; i++)
        free(s->files[i].head);
    arena_free(&s->arena);
    free(s);
}

int shard_layout_set_metadata(struct shard_layout *s, const char *key, const char *value,
                              const char *target, struct error *e)
{
    for (size_t i = 0; i < s->n_metadata; i++) {
        if (strcmp(s->metadata[i][0], key) != 0)
            continue;
        if (strlen(s->metadata[i][1]) != strlen(value))
            return error_set(e, "metadata %s has another length than was announced", key);
        s->metadata[i][1] = arena_copy_text(&s->arena, value);
    }
    return encode_headers(s, target, e);
}

char *shard_layout_index_json(const struct shard_layout *s)
{
    json_t *map = json_object();
    uint64_t total = 0;
    for (size_t i = 0; i < s->n; i++) {
        json_object_set_new(map, s->places[i].name, json_string(s->files[s->places[i].shard].name));
        total += s->places[i].size;
    }
    json_t *index =
        json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    char *text = s->n_files > 1 ? json_dumps(index, JSON_INDENT(2)) : NULL;
    json_decref(index);
    return text;
}
