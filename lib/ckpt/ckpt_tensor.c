#include "ckpt_tensor.h"

static enum dtype choose_file_dtype(const struct stored_tensor *t)
{
    if (!t->encoding || !t->encoding->name)
        return t->dtype;
    return t->encoding->file_dtype != DTYPE_NONE ? t->encoding->file_dtype : DTYPE_BF16;
}

struct ckpt_tensor ckpt_tensor_make(const struct stored_tensor *t)
{
    return (struct ckpt_tensor){.name = t->name,
                                .dtype = t->dtype,
                                .file_dtype = choose_file_dtype(t),
                                .rank = t->rank,
                                .shape = t->shape,
                                .elements = t->elements,
                                .data = t->stride || t->encoding ? NULL : t->data,
                                .encoding = t->encoding};
}

size_t ckpt_tensor_bytes(const struct ckpt_tensor *t, size_t n)
{
    const struct tensor_encoding *c = t->encoding;
    return c ? (n + c->block_elements - 1) / c->block_elements * c->block_bytes
             : dtype_bytes(t->dtype, n);
}
