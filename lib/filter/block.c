#include "filter.h"

void block_keep_vectors(struct block *b, size_t n, const size_t *which)
{
    for (size_t k = 0; k < n; k++) {
        size_t buffer = b->buffer_of[k];
        b->data[k] = b->data[which[k]];
        b->dtypes[k] = b->dtypes[which[k]];
        b->buffer_of[k] = b->buffer_of[which[k]];
        b->buffer_of[which[k]] = buffer;
    }
    b->n_vectors = n;
}
