/* The full hashes of the input models of a merge in parts. Every part records the hashes of the
 * tensors that it has read; the publisher combines them. */
#ifndef TV_INPUT_HASHES_H
#define TV_INPUT_HASHES_H

#include "filter.h"
#include "model_card.h"
#include "partial_checkpoint.h"

/* The hashes of the tensors that the run of stage `s` has read for a shard or
 * PARTIAL_CHECKPOINT_AUXILIARY: {MODEL: {INDEX: HASH, ...}, ...}. The caller drops the reference.
 */
json_t *input_hashes_of_shard(const struct partial_checkpoint *p, const struct stage *s,
                              size_t shard);
/* The full hashes of whole models that the run knows: {MODEL: HASH, ...}. */
json_t *input_hashes_of_models(const struct stage *s);
/* The models' full hashes, from the records of all shards; in the arena. */
struct model_hashes input_hashes_combine(const struct partial_checkpoint *p, const struct header *h,
                                         struct arena *a);

#endif
