/* The full hashes of the models in a set (share/stream.md, "Full hashes"): for each tensor over its
 * name, dtype, shape and the hashes of its blocks, then for each model over those of its tensors in
 * order.
 *
 * A full_hashes borrows the models, their matching and the header until full_hashes_free. Several
 * threads may use it at once. `index` is a tensor of the header, `match` its match. */
#ifndef TV_FULL_HASHES_H
#define TV_FULL_HASHES_H

#include "block.h"
#include "stage.h"
#include "tensor_matching.h"

struct full_hashes;

struct full_hashes *full_hashes_new(const struct tensor_matching *m, const struct header *h);
void full_hashes_free(struct full_hashes *f);

/* Hashes the stored bytes of a block of view k (match->n: of the base), unless it is only a sample
 * of the block or has been hashed before. */
void full_hashes_add_block(struct full_hashes *f, size_t index, const struct tensor_match *match,
                           size_t k, const struct block *b);
/* Hashes a tensor after its last block, and reports the hash to the run. */
void full_hashes_end_tensor(struct full_hashes *f, size_t index, const struct tensor_match *match,
                            struct stage *s);
/* Reports the hash of every model after the last tensor. */
void full_hashes_report(const struct full_hashes *f, struct stage *s);

#endif
