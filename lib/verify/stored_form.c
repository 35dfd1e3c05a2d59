#include "stored_form.h"

#include "ggml_blocks.h"
#include "gguf_stored_tensors.h"

#include <stdlib.h>

/* ---- opening --------------------------------------------------------------------------------- */

static void list_gguf_tensors(struct stored_form *f, const struct ckpt *model)
{
    const struct gguf_model *m = ckpt_gguf_model(model);
    struct arena a = {0};
    f->tensors = mem_alloc(ckpt_tensor_count(model), sizeof(void *));
    for (size_t k = 0; k < m->n_files; k++)
        for (size_t i = 0; i < m->files[k].n; i++) {
            const char *name = gguf_stored_tensors_name(m, &m->files[k].tensors[i], &a);
            long found = name ? ckpt_find_tensor(model, name) : -1;
            if (found >= 0)
                f->tensors[found] = &m->files[k].tensors[i];
        }
    arena_free(&a);
}

int stored_form_init(struct stored_form *f, const struct ckpt *model, const struct gguf_model *like,
                     const char *file, enum dtype dtype, struct error *e)
{
    const struct gguf_model *m = ckpt_gguf_model(model);
    *f = (struct stored_form){0};
    if (!m)
        return 0;
    f->like = like ? like : m;
    f->encoding = gguf_encoding_choose(f->like, dtype);
    if (!gguf_encoding_is_written(f->encoding.type))
        return error_set(e,
                         "%s is %s, which pack does not write; verify the file that it was made "
                         "from",
                         file, ggml_type_find(f->encoding.type)->name);
    list_gguf_tensors(f, model);
    return 0;
}

void stored_form_free(struct stored_form *f)
{
    free(f->tensors);
}

/* ---- tensors --------------------------------------------------------------------------------- */

bool stored_form_has_dtype(const struct stored_form *f, const struct ckpt *model, size_t i,
                           enum dtype dtype, const char **stored, const char **recomputed)
{
    enum dtype own = ckpt_tensor(model, i)->dtype;
    *stored = dtype_name(own);
    *recomputed = dtype_name(dtype);
    if (!f->tensors)
        return own == dtype;
    enum ggml_type type = f->tensors[i]->type, expected;
    *stored = ggml_type_find(type)->name;
    if (!dtype_is_float(dtype) || !dtype_is_float(own))
        return own == dtype;
    const struct gguf_tensor *like = gguf_model_find_tensor(f->like, f->tensors[i]->name);
    expected = gguf_encoding_tensor_type(&f->encoding, like ? like : f->tensors[i]);
    *recomputed = ggml_type_find(expected)->name;
    return type == expected;
}

const void *stored_form_convert(const struct stored_form *f, const struct ckpt *model, size_t i,
                                size_t first, size_t n, const void *x, void **to, struct error *e)
{
    const struct ckpt_tensor *own = ckpt_tensor(model, i);
    *to = NULL;
    if (!f->tensors || !dtype_is_float(own->dtype))
        return x;
    const struct gguf_elements from = {own->name, f->tensors[i]->type, first, n, x};
    unsigned char *encoded = *to = mem_alloc_aligned(gguf_encoding_bytes(from.type, n));
    if (gguf_encoding_encode(&from, true, encoded, e))
        return NULL;
    if (ggml_type_find(from.type)->dtype != DTYPE_NONE)
        return encoded;
    *to = mem_alloc_aligned(n * sizeof(float));
    ggml_blocks_decode(from.type, encoded, 0, n, *to);
    free(encoded);
    return *to;
}
