#include "gguf_encoding.h"

#include "ggml_blocks.h"
#include "glob_pattern.h"

/* ---- types ----------------------------------------------------------------------------------- */

static bool is_matrix(const struct gguf_tensor *t)
{
    return t->rank > 1 && !glob_pattern_text_ends_with(t->name, "_norm.weight") &&
           !glob_pattern_text_ends_with(t->name, ".bias");
}

static enum ggml_type find_most_common_type(const struct gguf_model *m)
{
    uint64_t elements[64] = {0};
    size_t best = 0;
    for (size_t f = 0; f < m->n_files; f++)
        for (size_t i = 0; i < m->files[f].n; i++)
            if (is_matrix(&m->files[f].tensors[i]))
                elements[m->files[f].tensors[i].type] +=
                    gguf_tensor_elements(&m->files[f].tensors[i]);
    for (size_t i = 0; i < 64; i++)
        if (elements[i] > elements[best])
            best = i;
    return (enum ggml_type)best;
}

bool gguf_encoding_is_written(enum ggml_type type)
{
    return type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16 ||
           type == GGML_TYPE_Q8_0;
}

uint32_t gguf_encoding_file_type(enum ggml_type type)
{
    return type == GGML_TYPE_F16 ? 1 : type == GGML_TYPE_Q8_0 ? 7 : type == GGML_TYPE_BF16 ? 32 : 0;
}

struct gguf_encoding gguf_encoding_choose(const struct gguf_model *like, enum dtype dtype)
{
    struct gguf_encoding g = {.like = find_most_common_type(like)};
    g.type = dtype == GGUF_ENCODING_Q8_0 ? GGML_TYPE_Q8_0
             : dtype == DTYPE_F32        ? GGML_TYPE_F32
             : dtype == DTYPE_F16        ? GGML_TYPE_F16
             : dtype == DTYPE_BF16       ? GGML_TYPE_BF16
                                         : g.like;
    return g;
}

/* Vectors are F32, because llama.cpp's kernels need it. So are matrices that are F32 in a file with
 * others that are not. */
enum ggml_type gguf_encoding_tensor_type(const struct gguf_encoding *g, const struct gguf_tensor *t)
{
    enum dtype d = ggml_type_find(t->type)->dtype;
    if (d != DTYPE_NONE && !dtype_is_float(d))
        return t->type;
    if (!is_matrix(t) || (t->type == GGML_TYPE_F32 && g->like != GGML_TYPE_F32))
        return GGML_TYPE_F32;
    return g->type == GGML_TYPE_Q8_0 && t->shape[t->rank - 1] % 32 != 0 ? GGML_TYPE_F16 : g->type;
}

/* ---- elements -------------------------------------------------------------------------------- */

size_t gguf_encoding_bytes(enum ggml_type type, size_t n)
{
    const struct ggml_type_info *info = ggml_type_find(type);
    return n / info->elements * info->bytes;
}

static int overflow_error(const struct gguf_elements *from, size_t i, struct error *e)
{
    return error_set(e, "tensor %s overflows %s at flat index %zu; choose another --dtype",
                     from->tensor, ggml_type_find(from->type)->name, from->first + i);
}

int gguf_encoding_encode(const struct gguf_elements *from, bool allow_nonfinite, unsigned char *to,
                         struct error *e)
{
    enum dtype d = ggml_type_find(from->type)->dtype;
    size_t n = from->n, bad = dtype_find_nonfinite(DTYPE_F32, from->x, n);
    if (d == DTYPE_NONE) {
        if (bad == n)
            bad = ggml_blocks_encode_q8_0(from->x, n, to);
        return bad < n ? overflow_error(from, bad, e) : 0;
    }
    dtype_from_f32(d, from->x, to, n);
    bad = allow_nonfinite ? n : dtype_find_nonfinite(d, to, n);
    return bad < n ? overflow_error(from, bad, e) : 0;
}
