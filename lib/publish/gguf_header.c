#include "gguf_header.h"

#include "little_endian.h"

#include <stdlib.h>
#include <string.h>

#define VERSION              3
#define QUANTIZATION_VERSION 2 /* GGML_QNT_VERSION */

static void append_integer(struct bytes *b, uint64_t x, size_t size)
{
    unsigned char bytes[8];
    little_endian_write(bytes, x, size);
    bytes_append(b, bytes, size);
}

static void append_string(struct bytes *b, const char *text)
{
    append_integer(b, strlen(text), 8);
    bytes_append(b, text, strlen(text));
}

static void append_u32_pair(struct bytes *b, const char *key, uint32_t x)
{
    append_string(b, key);
    append_integer(b, GGUF_U32, 4);
    append_integer(b, x, 4);
}

/* ---- metadata -------------------------------------------------------------------------------- */

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Does the value describe the other file, and not its model? */
static bool is_dropped(const char *key)
{
    return starts_with(key, "split.") || starts_with(key, "quantize.imatrix.") ||
           gguf_metadata_is_recorded_key(key);
}

static void append_text_pairs(struct bytes *b, const struct gguf_header *h, size_t *offsets)
{
    for (size_t i = 0; i < h->n_texts; i++) {
        char *key = mem_printf(GGUF_RECORDED_PREFIX "%s", h->texts[i][0]);
        append_string(b, key);
        free(key);
        append_integer(b, GGUF_STRING, 4);
        append_string(b, h->texts[i][1]);
        offsets[i] = b->size - strlen(h->texts[i][1]);
    }
}

struct bytes gguf_header_encode_metadata(const struct gguf_header *h, uint64_t *n)
{
    static const char type_key[] = "general.file_type";
    static const char version_key[] = "general.quantization_version";
    const struct gguf_metadata *m = h->metadata;
    struct bytes b = {0};
    *n = 0;
    for (size_t i = 0; i < m->n; i++) {
        const struct gguf_value *v = &m->values[i];
        if (is_dropped(v->key))
            continue;
        ++*n;
        if (strcmp(v->key, type_key) == 0)
            append_u32_pair(&b, type_key, h->file_type);
        else
            bytes_append(&b, v->pair, v->pair_size);
    }
    if (!gguf_metadata_find(m, type_key)) {
        append_u32_pair(&b, type_key, h->file_type);
        ++*n;
    }
    if (h->is_quantized && !gguf_metadata_find(m, version_key)) {
        append_u32_pair(&b, version_key, QUANTIZATION_VERSION);
        ++*n;
    }
    return b;
}

/* ---- the header ------------------------------------------------------------------------------ */

static void append_tensors(struct bytes *b, const struct gguf_header *h)
{
    for (size_t i = 0; i < h->n; i++) {
        const struct gguf_header_tensor *t = &h->tensors[i];
        append_string(b, t->name);
        append_integer(b, t->rank, 4);
        for (size_t d = t->rank; d-- > 0;)
            append_integer(b, t->shape[d], 8);
        append_integer(b, (uint32_t)t->type, 4);
        append_integer(b, t->offset, 8);
    }
}

struct bytes gguf_header_encode(const struct gguf_header *h, size_t *used, size_t **text_offsets)
{
    uint64_t n_pairs;
    struct bytes pairs = gguf_header_encode_metadata(h, &n_pairs), b = {0};
    size_t *offsets = *text_offsets = mem_alloc(h->n_texts, sizeof *offsets);
    append_text_pairs(&pairs, h, offsets);
    bytes_append(&b, "GGUF", 4);
    append_integer(&b, VERSION, 4);
    append_integer(&b, h->n, 8);
    append_integer(&b, n_pairs + h->n_texts, 8);
    for (size_t i = 0; i < h->n_texts; i++)
        offsets[i] += b.size;
    bytes_append(&b, pairs.data, pairs.size);
    bytes_free(&pairs);
    append_tensors(&b, h);
    *used = b.size;
    while (b.size < gguf_align(b.size, h->alignment))
        append_integer(&b, 0, 1);
    return b;
}
