/* Which elements of a tensor's vectors are kept: one bit per element, set block by block in a round
 * that also sums |x|, and stored for `transform_block`, which may be called for several passes. The
 * mask lives in the arena that it was made in. */
#ifndef TV_KEEP_MASK_H
#define TV_KEEP_MASK_H

#include "filter.h"

struct keep_mask {
    size_t n_vectors, block_bytes; /* bytes for one vector of the largest block */
    unsigned char *bits; /* (blocks, n_vectors, block_bytes); NULL: not stored, above 32 MB */
};

struct keep_mask keep_mask_new(const struct job *job);

/* The work area of the round, which begins with two sums per vector: its bytes, and the bits of
 * vector k in it. */
size_t keep_mask_work_size(const struct keep_mask *m);
unsigned char *keep_mask_work_bits(const struct keep_mask *m, void *work, size_t k);

/* Copies the bits of a block out of its work area, if they are stored. */
void keep_mask_store_block(const struct keep_mask *m, size_t block, void *work);
/* The stored bits of vector k of a block. */
const unsigned char *keep_mask_block_bits(const struct keep_mask *m, size_t block, size_t k);

#endif
