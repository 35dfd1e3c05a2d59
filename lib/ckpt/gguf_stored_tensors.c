#include "gguf_stored_tensors.h"

#include "ggml_blocks.h"
#include "gguf_names.h"

#include <string.h>

/* The decode function of tensor_encoding.h. */
static void decode_blocks(const struct stored_tensor *t, size_t first, size_t n, void *to)
{
    ggml_blocks_decode(*(const enum ggml_type *)t->encoding->context, t->data, first, n, to);
}

/* Relative errors of a normally distributed matrix, quantized by llama.cpp. */
static double find_relative_error(enum ggml_type type)
{
    static const struct {
        enum ggml_type type;
        double error;
    } errors[] = {{GGML_TYPE_Q8_0, 0.005}, {GGML_TYPE_Q6_K, 0.018}, {GGML_TYPE_Q5_K, 0.036},
                  {GGML_TYPE_Q5_0, 0.043}, {GGML_TYPE_Q4_K, 0.072}, {GGML_TYPE_IQ4_XS, 0.077},
                  {GGML_TYPE_Q4_0, 0.086}, {GGML_TYPE_MXFP4, 0.11}, {GGML_TYPE_Q3_K, 0.15},
                  {GGML_TYPE_Q2_K, 0.3}};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].type == type)
            return errors[i].error;
    return 0;
}

/* How the tensor is encoded; NULL if its bytes are its elements in order. */
static const struct tensor_encoding *make_encoding(const struct gguf_tensor *t, size_t interleaved,
                                                   struct arena *a)
{
    const struct ggml_type_info *info = ggml_type_find(t->type);
    if (info->dtype != DTYPE_NONE && interleaved == 0)
        return NULL;
    struct tensor_encoding *encoding = arena_alloc(a, 1, sizeof *encoding);
    *encoding = (struct tensor_encoding){.block_elements = info->elements,
                                         .block_bytes = info->bytes,
                                         .interleaved_rows = interleaved,
                                         .hash = (uint64_t)t->type << 32 | interleaved,
                                         .context = &t->type};
    if (info->dtype == DTYPE_NONE) {
        encoding->name = arena_printf(a, "GGUF %s", info->name);
        encoding->relative_error = find_relative_error(t->type);
        encoding->file_dtype = DTYPE_F32; /* codes times scales need more digits than BF16 has */
        encoding->decode = decode_blocks;
    }
    return encoding;
}

const char *gguf_stored_tensors_name(const struct gguf_model *m, const struct gguf_tensor *t,
                                     struct arena *a)
{
    const char *hf = NULL;
    if (!m->is_known)
        return t->name;
    enum gguf_name_kind kind = gguf_names_to_hf(t->name, a, &hf);
    if (kind == GGUF_NAME_ROPE || kind == GGUF_NAME_DROPPED)
        return NULL;
    return hf ? hf : t->name;
}

static int add_tensor(const struct gguf_model *m, const struct gguf_tensor *t,
                      struct stored_tensors *s, struct error *e)
{
    enum dtype d = ggml_type_find(t->type)->dtype;
    const char *name = gguf_stored_tensors_name(m, t, &s->arena);
    size_t interleaved = 0;
    if (!name)
        return 0;
    if (m->is_known && gguf_model_find_interleaved_rows(m, t, &interleaved, e) < 0)
        return -1;
    const struct stored_tensor stored = {.dtype = d == DTYPE_NONE ? DTYPE_F32 : d,
                                         .rank = t->rank,
                                         .shape = t->shape,
                                         .data = t->data,
                                         .encoding = make_encoding(t, interleaved, &s->arena)};
    return stored_tensors_add(s, name, strlen(name), &stored, e);
}

int gguf_stored_tensors_list(const struct gguf_model *m, size_t i, struct stored_tensors *s,
                             struct error *e)
{
    const struct gguf *g = &m->files[i];
    s->header = g->header;
    s->header_size = g->header_size;
    for (size_t j = 0; j < g->n; j++)
        if (add_tensor(m, &g->tensors[j], s, e) < 0)
            return -1;
    return 0;
}
