#include "held_rows.h"

#include "block_layout.h"

#include <string.h>

static size_t bytes_of_vector(const struct held_rows *h)
{
    return (h->elements * sizeof(float) + 63) / 64 * 64;
}

int held_rows_reserve(struct held_rows *h, size_t stage, const struct tensor *t,
                      const struct common_options *o, struct error *e)
{
    size_t size;
    *h = (struct held_rows){
        .stage = stage, .elements = tensor_elements(t), .columns = tensor_columns(t)};
    if (__builtin_mul_overflow(bytes_of_vector(h), t->n_vectors, &size))
        return error_set(e, "tensor %s is too large to be held", t->name);
    return scratch_alloc(&h->memory, size, o->memory, o->spool, e);
}

void held_rows_release(struct held_rows *h)
{
    scratch_free(&h->memory);
    *h = (struct held_rows){0};
}

float *held_rows_at(const struct held_rows *h, size_t k, size_t first)
{
    return (float *)((char *)h->memory.bytes + k * bytes_of_vector(h)) + first;
}

void held_rows_store_block(const struct held_rows *h, const struct block *b)
{
    for (size_t k = 0; k < b->n_vectors; k++)
        memcpy(held_rows_at(h, k, b->first), b->data[k], b->n * sizeof(float));
}

void held_rows_load_block(const struct held_rows *h, const struct tensor *t, size_t index,
                          size_t sample_elements, struct block_buffer *b)
{
    block_layout_set_to_block(&b->block, t, index);
    b->block.n = block_layout_sample_length(&b->block, sample_elements);
    b->is_finite = false;
    for (size_t k = 0; k < t->n_vectors; k++) {
        b->block.data[k] = b->floats[k];
        b->block.dtypes[k] = DTYPE_F32;
        memcpy(b->floats[k], held_rows_at(h, k, b->block.first), b->block.n * sizeof(float));
    }
}
