/* A run's share of a merge in parts: the shards of --part I/N (every Nth, from the Ith on), or with
 * --resume all of them, less those that are finished already. A share owns its parts until
 * merge_part_close. */
#ifndef TV_MERGE_PART_H
#define TV_MERGE_PART_H

#include "merge_plan.h"

struct merge_part;

/* "2/5" */
int merge_part_parse(const char *text, uint64_t *i, uint64_t *n, struct error *e);

/* `part` is NULL with --resume. In the open of stage `s`, which writes the tensors of plan->result;
 * refuses a chain with a stage that must see the whole model. Says on standard error what it finds
 * finished. NULL on error. */
struct merge_part *merge_part_open(struct stage *s, const char *target, bool force,
                                   const char *part, const struct merge_plan *plan,
                                   const struct model_source *lender, struct error *e);
struct partial_checkpoint *merge_part_checkpoint(const struct merge_part *s);
/* Does it make what is beside the shards too? */
bool merge_part_is_first(const struct merge_part *s);
/* Is tensor `index` to be made, or (SIZE_MAX) read though it does not come as far as here? */
bool merge_part_wants_tensor(const struct merge_part *s, size_t index);
/* All of the tensor's bytes have been written. */
int merge_part_finish_tensor(struct merge_part *s, size_t index, struct error *e);
/* All tensors are done; with --resume the result is published. */
int merge_part_finish(struct merge_part *s, struct error *e);
/* What is finished stays. NULL is allowed. */
void merge_part_close(struct merge_part *s);

#endif
