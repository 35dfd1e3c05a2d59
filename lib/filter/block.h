/* A block: one stretch of one tensor, for all K vectors side by side. The runner owns the payload.
 * While a filter has a block, floating payload is F32 (unless the filter sets raw_payload) and is
 * rounded to the stream's dtype afterwards; other payload keeps its dtype. A transform writes into
 * data[k]; a join writes its result into data[0] and sets n_vectors to 1. */
#ifndef TV_BLOCK_H
#define TV_BLOCK_H

#include "dtype.h"

#include <stddef.h>

struct block {
    size_t index;       /* block number in the tensor */
    size_t first, n;    /* flat index of the first element; number of elements */
    size_t columns;     /* elements of a row; a block holds whole rows unless one row is longer */
    size_t n_vectors;   /* K */
    void **data;        /* [K]: n elements each */
    enum dtype *dtypes; /* [K]: current dtype of data[k] */
    size_t *buffer_of;  /* [K]: the runner's pair of buffers behind data[k] */
};

/* The n elements of vector k, which must be F32. */
static inline float *block_floats(const struct block *b, size_t k)
{
    return (float *)b->data[k];
}

/* Keeps the n vectors kept[0] < kept[1] < ... and drops the others. */
void block_keep_vectors(struct block *b, size_t n, const size_t *kept);

#endif
