#include "gguf.h"

#include "utf8.h"

#include <string.h>

#define SMALLEST_TENSOR   24 /* bytes in the list: an upper bound for the number of tensors */
#define DEFAULT_ALIGNMENT 32
#define MIN_ALIGNMENT     8
#define MAX_ALIGNMENT     ((uint64_t)1 << 20)

/* ---- before the tensors ---------------------------------------------------------------------- */

static int read_counts(struct gguf_cursor *c, uint64_t *tensors, uint64_t *pairs, struct error *e)
{
    uint64_t version;
    if (c->size < 24)
        return error_set(e, "%s has %zu bytes; a GGUF file has at least 24", c->file, c->size);
    if (memcmp(c->bytes, "GGUF", 4) != 0)
        return error_set(e, "%s is not a GGUF file", c->file);
    c->position = 4;
    if (gguf_cursor_read(c, 4, "the version", &version, e) < 0 ||
        gguf_cursor_read(c, 8, "the number of tensors", tensors, e) < 0 ||
        gguf_cursor_read(c, 8, "the number of metadata pairs", pairs, e) < 0)
        return -1;
    if ((version & 0xFFFF) == 0)
        return error_set(e, "%s is a big-endian GGUF file, which is not supported", c->file);
    if (version != 2 && version != 3)
        return error_set(e, "%s is of version %llu of GGUF; versions 2 and 3 are supported",
                         c->file, (unsigned long long)version);
    if (*tensors > c->size / SMALLEST_TENSOR)
        return error_set(e, "%s: its header announces %llu tensors, more than it has room for",
                         c->file, (unsigned long long)*tensors);
    return 0;
}

static int read_alignment(struct gguf *g, struct error *e)
{
    const struct gguf_value *v = gguf_metadata_find(&g->metadata, "general.alignment");
    g->alignment = DEFAULT_ALIGNMENT;
    if (!v)
        return 0;
    if (v->type != GGUF_U32)
        return error_set(e, "%s: general.alignment is not of type uint32", g->file);
    if (gguf_metadata_find_count(&g->metadata, v->key, &g->alignment, e) < 0)
        return -1;
    if (g->alignment < MIN_ALIGNMENT || g->alignment > MAX_ALIGNMENT ||
        (g->alignment & (g->alignment - 1)) != 0)
        return error_set(e, "%s: general.alignment is %llu; expected a power of two from 8 to 2^20",
                         g->file, (unsigned long long)g->alignment);
    return 0;
}

/* ---- one tensor ------------------------------------------------------------------------------ */

static int read_name(struct gguf *g, struct gguf_cursor *c, struct gguf_tensor *t, struct error *e)
{
    size_t start = c->position, length;
    const char *name = gguf_cursor_read_string(c, "a tensor's name", &length, e);
    if (!name)
        return -1;
    if (length == 0 || length > GGUF_MAX_NAME)
        return error_set(e, "%s: the tensor name at byte %zu has %zu bytes; expected 1 to %d",
                         g->file, start, length, GGUF_MAX_NAME);
    if (utf8_valid_prefix_length(name, length) < length)
        return error_set(e, "%s: the tensor name at byte %zu is not UTF-8 without NUL", g->file,
                         start);
    t->name = arena_copy_text_n(&g->arena, name, length);
    return 0;
}

/* Reads rank and dimensions; computes the number of elements. */
static int read_shape(struct gguf *g, struct gguf_cursor *c, struct gguf_tensor *t,
                      uint64_t *elements, struct error *e)
{
    uint64_t rank;
    if (gguf_cursor_read(c, 4, "a tensor's rank", &rank, e) < 0)
        return -1;
    if (rank < 1 || rank > GGUF_MAX_RANK)
        return error_set(e, "%s: tensor %s has %llu dimensions; expected 1 to %d", g->file, t->name,
                         (unsigned long long)rank, GGUF_MAX_RANK);
    t->rank = (size_t)rank;
    *elements = 1;
    for (size_t i = t->rank; i-- > 0;) {
        if (gguf_cursor_read(c, 8, "a tensor's dimension", &t->shape[i], e) < 0)
            return -1;
        if (t->shape[i] == 0)
            return error_set(e, "%s: tensor %s has a dimension of 0", g->file, t->name);
        if (__builtin_mul_overflow(*elements, t->shape[i], elements) || *elements > INT64_MAX)
            return error_set(e, "%s: tensor %s: its shape overflows", g->file, t->name);
    }
    return 0;
}

/* Reads the type; computes the size in bytes. */
static int read_type(struct gguf *g, struct gguf_cursor *c, struct gguf_tensor *t,
                     uint64_t elements, uint64_t *size, struct error *e)
{
    uint64_t type;
    if (gguf_cursor_read(c, 4, "a tensor's type", &type, e) < 0)
        return -1;
    const struct ggml_type_info *info = ggml_type_find((uint32_t)type);
    if (!info)
        return error_set(e, "%s: tensor %s has the unknown type %llu", g->file, t->name,
                         (unsigned long long)type);
    if (info->elements == 0)
        return error_set(e,
                         "%s: tensor %s is %s, which is not supported; use a file in F16, BF16, "
                         "Q8_0, or Q2_K to Q6_K",
                         g->file, t->name, info->name);
    if (t->shape[t->rank - 1] % info->elements != 0)
        return error_set(e, "%s: tensor %s has rows of %llu elements, but blocks of %s have %u",
                         g->file, t->name, (unsigned long long)t->shape[t->rank - 1], info->name,
                         info->elements);
    t->type = (enum ggml_type)type;
    if (__builtin_mul_overflow(elements / info->elements, info->bytes, size) || *size > INT64_MAX)
        return error_set(e, "%s: tensor %s: its size overflows", g->file, t->name);
    return 0;
}

/* Reads an entry of the list. Its offset must be `expected`, which moves to the end of the tensor.
 */
static int read_tensor(struct gguf *g, struct gguf_cursor *c, struct gguf_tensor *t,
                       uint64_t *expected, struct error *e)
{
    uint64_t elements = 0, size = 0, offset;
    if (read_name(g, c, t, e) < 0 || read_shape(g, c, t, &elements, e) < 0 ||
        read_type(g, c, t, elements, &size, e) < 0 ||
        gguf_cursor_read(c, 8, "a tensor's offset", &offset, e) < 0)
        return -1;
    *expected = gguf_align(*expected, g->alignment);
    if (offset != *expected)
        return error_set(e, "%s: tensor %s begins at byte %llu of the data; expected %llu", g->file,
                         t->name, (unsigned long long)offset, (unsigned long long)*expected);
    if (size > c->size || offset > c->size - size)
        return error_set(e,
                         "%s: tensor %s ends at byte %llu of the data, beyond the end of the file",
                         g->file, t->name, (unsigned long long)offset + size);
    t->size = (size_t)size;
    *expected = offset + size;
    return 0;
}

/* ---- all tensors ----------------------------------------------------------------------------- */

/* Reads the list; *data_size is the end of the last tensor. */
static int read_tensor_list(struct gguf *g, struct gguf_cursor *c, uint64_t n, uint64_t *data_size,
                            struct error *e)
{
    struct name_index names = {0};
    *data_size = 0;
    if (n > (c->size - c->position) / SMALLEST_TENSOR)
        return error_set(e, "%s: its header announces %llu tensors, more than it has room for",
                         g->file, (unsigned long long)n);
    g->tensors = arena_alloc(&g->arena, (size_t)n, sizeof *g->tensors);
    for (size_t i = 0; i < n; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        if (read_tensor(g, c, t, data_size, e) < 0)
            return -1;
        if (name_index_add(&names, t->name, i, &g->arena) != i)
            return error_set(e, "%s: two tensors are named %s", g->file, t->name);
    }
    g->n = (size_t)n;
    return 0;
}

/* Sets the data of all tensors, after checking that they fill the rest of the file. */
static int locate_data(struct gguf *g, const struct gguf_cursor *c, uint64_t data_size,
                       struct error *e)
{
    uint64_t start = gguf_align(c->position, g->alignment), offset = 0;
    uint64_t end = start + gguf_align(data_size, g->alignment);
    if (c->size > end)
        return error_set(e, "%s: bytes at its end belong to no tensor (%llu)", g->file,
                         (unsigned long long)(c->size - end));
    for (size_t i = 0; i < g->n; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        offset = gguf_align(offset, g->alignment);
        if (start + offset > c->size || t->size > c->size - start - offset)
            return error_set(e,
                             "%s is truncated: tensor %s ends at byte %llu, but the file has %zu "
                             "bytes",
                             g->file, t->name, (unsigned long long)(start + offset + t->size),
                             c->size);
        t->data = c->bytes + start + offset;
        offset += t->size;
    }
    return 0;
}

int gguf_read(struct gguf *g, const unsigned char *bytes, size_t size, struct error *e)
{
    struct gguf_cursor c = {.file = g->file, .bytes = bytes, .size = size};
    uint64_t tensors, pairs, data_size;
    if (read_counts(&c, &tensors, &pairs, e) < 0 ||
        gguf_metadata_read(&g->metadata, &c, pairs, &g->arena, e) < 0 || read_alignment(g, e) < 0 ||
        read_tensor_list(g, &c, tensors, &data_size, e) < 0)
        return -1;
    g->header = bytes;
    g->header_size = c.position;
    return locate_data(g, &c, data_size, e);
}

void gguf_free(struct gguf *g)
{
    arena_free(&g->arena);
    *g = (struct gguf){.file = g->file};
}
