#include "block.h"

void block_keep_vectors(struct block *b, size_t n, const size_t *kept)
{
    for (size_t k = 0; k < n; k++) {
        size_t buffer = b->buffer_of[k];
        b->data[k] = b->data[kept[k]];
        b->dtypes[k] = b->dtypes[kept[k]];
        b->buffer_of[k] = b->buffer_of[kept[k]];
        b->buffer_of[kept[k]] = buffer;
    }
    b->n_vectors = n;
}
