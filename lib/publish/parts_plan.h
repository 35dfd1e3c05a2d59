/* The plan of a merge in parts: what it will write. It is saved in the parts folder, so that any
 * process can publish the result; publishing is here, too. pack makes the parts; `tv finish`, or
 * pack
 * --resume, publishes them. */
#ifndef TV_PARTS_PLAN_H
#define TV_PARTS_PLAN_H

#include "model_card.h"
#include "partial_checkpoint.h"

struct parts_plan {
    struct header *result; /* the checkpoint's (model_card.h) */
    size_t n_filled;       /* its last tensors are unchanged ones of the base */
    uint64_t shard_size;
    const char *stem; /* of the names of the weight files (weight_names.h) */
    struct card_texts card;
    const struct model *other_base; /* a base other than the stream's; NULL */
    bool is_single_file;            /* its metadata contain the weights that the joins used */
    bool header_goes_first;         /* ... and lack what is known only at the end */
};

/* The tensors and metadata of a checkpoint as they are stored, without what is known only at the
 * end; in the arena. The caller sets shard_size. */
struct shard_layout_spec parts_plan_layout_spec(const struct parts_plan *plan, struct arena *a);

/* Sets the layout of the checkpoint and saves the plan. `auxiliary_source`, the model whose
 * auxiliary files are copied, is one of the inputs; it may be NULL. */
int parts_plan_save(struct partial_checkpoint *p, const struct parts_plan *plan,
                    const struct model_source *auxiliary_source, struct error *e);
/* Finishes a shard, or PARTIAL_CHECKPOINT_AUXILIARY, and records the hashes of the input tensors
 * that the run has read for it, and the weights that the joins used. `s` is the sink. */
int parts_plan_record_shard(struct partial_checkpoint *p, const struct stage *s,
                            const struct used_weights *weights, size_t shard, struct error *e);
/* Checks that all shards are finished and from the plan's recipe and inputs, and publishes them. */
int parts_plan_publish(struct partial_checkpoint *p, struct error *e);

#endif
