#include "gguf_comparison.h"

#include "gguf_header.h"

#include <string.h>

/* ---- metadata -------------------------------------------------------------------------------- */

static bool is_same_pair(const struct gguf_value *a, const struct gguf_value *b)
{
    return a->pair_size == b->pair_size && memcmp(a->pair, b->pair, a->pair_size) == 0;
}

static void compare_values(struct comparison_report *r, const struct gguf_metadata *own,
                           const struct gguf_metadata *expected)
{
    for (size_t i = 0; i < expected->n; i++) {
        const struct gguf_value *v = &expected->values[i], *found = gguf_metadata_find(own, v->key);
        if (!found || !is_same_pair(v, found))
            comparison_report_add(r, DIFFERENT_METADATA, arena_copy_text(&r->arena, v->key),
                                  found ? NULL : "missing");
    }
    for (size_t i = 0; i < own->n; i++) {
        const char *key = own->values[i].key;
        if (!gguf_metadata_is_recorded_key(key) && !gguf_metadata_find(expected, key))
            comparison_report_add(r, DIFFERENT_METADATA, key, "not in the other file");
    }
}

static int compare_metadata(struct comparison_report *r, const struct gguf_model *model,
                            const struct gguf_model *like, enum ggml_type type, struct error *e)
{
    const struct gguf_header header = {.metadata = gguf_model_metadata(like),
                                       .file_type = gguf_encoding_file_type(type),
                                       .is_quantized = type == GGML_TYPE_Q8_0};
    uint64_t n;
    struct bytes pairs = gguf_header_encode_metadata(&header, &n);
    struct gguf_cursor c = {like->files[0].file, pairs.data, pairs.size, 0};
    struct gguf_metadata expected = {.file = c.file};
    struct arena a = {0};
    int failed = gguf_metadata_read(&expected, &c, n, &a, e);
    if (!failed)
        compare_values(r, gguf_model_metadata(model), &expected);
    arena_free(&a);
    bytes_free(&pairs);
    return failed;
}

/* ---- tensors that are settings --------------------------------------------------------------- */

static void compare_rope_freqs(struct comparison_report *r, const struct gguf_model *model,
                               const struct gguf_model *like)
{
    const struct gguf_tensor *own = model->rope_freqs, *expected = like->rope_freqs;
    const char *name = own ? own->name : expected ? expected->name : NULL;
    if (!own != !expected)
        comparison_report_add(r, own ? EXTRA : MISSING, name, NULL);
    else if (own && (own->type != expected->type || own->size != expected->size ||
                     memcmp(own->data, expected->data, own->size) != 0))
        comparison_report_add(r, DIFFERENT_ELEMENTS, name, NULL);
}

int gguf_comparison_run(struct comparison_report *r, const struct gguf_model *model,
                        const struct gguf_model *like, enum ggml_type type, struct error *e)
{
    compare_rope_freqs(r, model, like);
    return compare_metadata(r, model, like, type, e);
}
