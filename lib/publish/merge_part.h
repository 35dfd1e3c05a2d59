/* One part of a merge in parts: with --part I/N every Nth shard, from the Ith on; with --resume all
 * shards. Shards that are finished already are not made again.
 *
 * A merge_part owns its partial_checkpoint until merge_part_close. */
#ifndef TV_MERGE_PART_H
#define TV_MERGE_PART_H

#include "parts_plan.h"

struct merge_part;

/* Parses "I/N". */
int merge_part_parse(const char *text, uint64_t *i, uint64_t *n, struct error *e);

struct merge_part_options {
    const char *target;
    bool force;
    const struct input_guard *guard;
    const char *part;                   /* "I/N"; NULL: --resume */
    const struct used_weights *weights; /* of the tensors; filled in while they are written */
};

/* Call it in the open of the sink `s`, which writes the tensors of plan->result. Prints on standard
 * error what is finished already. A chain with a stage of model scope is an error. NULL on error.
 */
struct merge_part *merge_part_open(struct stage *s, const struct merge_part_options *o,
                                   const struct parts_plan *plan,
                                   const struct model_source *auxiliary_source, struct error *e);
struct partial_checkpoint *merge_part_checkpoint(const struct merge_part *m);
/* The first part also writes the auxiliary files. */
bool merge_part_is_first(const struct merge_part *m);
/* Must this part write tensor `index` or, for SIZE_MAX, read tensors that a stage drops? */
bool merge_part_wants_tensor(const struct merge_part *m, size_t index);
/* Call it when all bytes of a tensor have been written. */
int merge_part_record_finished_tensor(struct merge_part *m, size_t index, struct error *e);
/* Call it when all tensors have been written. With --resume it publishes the result. */
int merge_part_record_shards_and_publish(struct merge_part *m, struct error *e);
/* What is finished stays on the disk. NULL is allowed. */
void merge_part_close(struct merge_part *m);

#endif
