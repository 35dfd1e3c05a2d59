#include "block_layout.h"

#include <stdlib.h>

void block_layout_allocate_arrays(struct block *b, size_t n_vectors)
{
    b->data = mem_resize(b->data, n_vectors, sizeof *b->data);
    b->dtypes = mem_resize(b->dtypes, n_vectors, sizeof *b->dtypes);
    b->buffer_of = mem_resize(b->buffer_of, n_vectors, sizeof *b->buffer_of);
}

void block_layout_free(struct block *b)
{
    free(b->data);
    free(b->dtypes);
    free(b->buffer_of);
}

void block_layout_set_to_block(struct block *b, const struct tensor *t, size_t index)
{
    b->index = index;
    tensor_block_range(t, index, &b->first, &b->n);
    b->columns = tensor_columns(t);
    b->n_vectors = t->n_vectors;
    for (size_t k = 0; k < t->n_vectors; k++) {
        b->dtypes[k] = t->vectors[k].dtype;
        b->buffer_of[k] = k;
    }
}

size_t block_layout_sample_length(const struct block *b, size_t sample_elements)
{
    if (sample_elements == 0 || b->columns == 0)
        return b->n;
    size_t rows = (sample_elements + b->columns - 1) / b->columns;
    return rows * b->columns < b->n ? rows * b->columns : b->n;
}

uint64_t block_layout_bytes(const struct block *b)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < b->n_vectors; k++)
        bytes += dtype_bytes(b->dtypes[k], b->n);
    return bytes;
}

uint64_t block_layout_payload_bytes(const struct tensor *t, size_t n)
{
    uint64_t bits = 0;
    for (size_t k = 0; k < t->n_vectors; k++)
        bits += dtype_bits(t->vectors[k].dtype);
    return n * bits / 8;
}
