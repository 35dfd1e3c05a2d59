/* What is made of a merge in parts: the plan, written down so that any process can publish it, and
 * the publishing. pack makes the parts; `tv finish`, or the last of them, puts them in place. */
#ifndef TV_MERGE_PLAN_H
#define TV_MERGE_PLAN_H

#include "model_card.h"
#include "partial_checkpoint.h"

/* What a checkpoint will be. */
struct merge_plan {
    struct header *result; /* as model_card.h wants it */
    size_t n_filled;       /* its last tensors are the base's */
    uint64_t shard_size;
    const struct model *onto; /* another base than the stream's; NULL */
};

/* Its tensors and metadata as they will be stored, without the full hashes; in the arena. */
struct shard_layout_spec merge_plan_layout_spec(const struct header *result, struct arena *a);

/* Plans the shards and writes down the plan; `lender` (or NULL) counts as one of the inputs. */
int merge_plan_save(struct partial_checkpoint *p, const struct merge_plan *plan,
                    const struct model_source *lender, struct error *e);
/* Records a shard, or (SIZE_MAX) what is beside the shards, with the hashes of the tensors that the
 * run has read for it. `s` is the stage that writes. */
int merge_plan_record_shard(struct partial_checkpoint *p, const struct stage *s, size_t shard,
                            struct error *e);
/* Are all parts there, sound, and of one recipe? Then they are published. */
int merge_plan_publish(struct partial_checkpoint *p, struct error *e);

#endif
