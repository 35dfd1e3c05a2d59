/* A run's share of a merge in parts: the shards of --part I/N (every Nth, from the Ith on), or with
 * --resume all of them, less those that are finished already. A share owns its parts until
 * shard_subset_close. */
#ifndef TV_SHARD_SUBSET_H
#define TV_SHARD_SUBSET_H

#include "merge_plan.h"

struct shard_subset;

/* "2/5" */
int shard_subset_read_part(const char *text, uint64_t *i, uint64_t *n, struct error *e);

/* `part` is NULL with --resume. In the open of stage `s`, which writes the tensors of plan->result;
 * refuses a chain with a stage that must see the whole model. Says on standard error what it finds
 * finished. NULL on error. */
struct shard_subset *shard_subset_open(struct stage *s, const char *target, bool force,
                                       const char *part, const struct merge_plan *plan,
                                       const struct model_source *lender, struct error *e);
struct partial_checkpoint *shard_subset_checkpoint(const struct shard_subset *s);
/* Does it make what is beside the shards too? */
bool shard_subset_is_first(const struct shard_subset *s);
/* Is tensor `index` to be made, or (SIZE_MAX) read though it does not come as far as here? */
bool shard_subset_wants(const struct shard_subset *s, size_t index);
/* All of the tensor's bytes have been written. */
int shard_subset_tensor_done(struct shard_subset *s, size_t index, struct error *e);
/* All tensors are done; with --resume the result is published. */
int shard_subset_finish(struct shard_subset *s, struct error *e);
/* What is finished stays. NULL is allowed. */
void shard_subset_close(struct shard_subset *s);

#endif
