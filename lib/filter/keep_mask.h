/* Which elements of a tensor's vectors stay: a bit each, found block by block in a round over the
 * tensor that sums |x| too, and kept for transforms, which come again for every stage behind that
 * looks. How a filter lays out the bits of a block is its own affair. Marks lie in the arena that
 * they were made in. */
#ifndef TV_KEEP_MASK_H
#define TV_KEEP_MASK_H

#include "tensor_sums.h"

struct keep_mask {
    size_t n_vectors, block_bytes; /* of a block of one vector */
    unsigned char *bits;           /* NULL: none are kept, there would be too many */
};

/* For the vectors of a tensor. */
struct keep_mask keep_mask_new(struct arena *a, const struct tensor *t, size_t block_bytes);
/* The work area of a round: its bytes, and where in it the marks of vector k lie, behind the sums
 * of tensor_sums_observe_abs. */
size_t keep_mask_work_size(const struct keep_mask *m);
unsigned char *keep_mask_work_bits(const struct keep_mask *m, void *work, size_t k);
/* Keeps what a round has found in a block. */
void keep_mask_store_block(const struct keep_mask *m, size_t block, void *work);
/* The marks of a block of vector k, once they are kept. */
const unsigned char *keep_mask_block_bits(const struct keep_mask *m, size_t block, size_t k);

#endif
