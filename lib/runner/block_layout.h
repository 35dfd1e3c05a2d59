/* Builds blocks: which elements of a tensor a block holds, of which vectors, in which dtypes. The
 * arrays of a block belong to whoever allocated them here, until block_layout_free; the payload
 * that `data` points to belongs to somebody else. */
#ifndef TV_BLOCK_LAYOUT_H
#define TV_BLOCK_LAYOUT_H

#include "filter.h"

/* Resizes the arrays `data`, `dtypes` and `buffer_of` of a zeroed or allocated block. */
void block_layout_allocate_arrays(struct block *b, size_t n_vectors);
void block_layout_free(struct block *b);
/* Makes `b` block `index` of `t`, as a source delivers it: all its elements, all vectors, in the
 * dtypes of the stream. `data` is left to the caller. */
void block_layout_set_to_block(struct block *b, const struct tensor *t, size_t index);
/* Elements of the block's start that hold at least `sample_elements` in whole rows; 0: all. */
size_t block_layout_sample_length(const struct block *b, size_t sample_elements);
/* Bytes of the block's payload: all vectors, in the dtypes that they have now. */
uint64_t block_layout_bytes(const struct block *b);
/* Bytes of n elements of all vectors of a tensor, in the dtypes of the stream. */
uint64_t block_layout_payload_bytes(const struct tensor *t, size_t n);

#endif
