/* A run's share of a merge in parts: the shards of --part I/N (every Nth, from the Ith on), or with
 * --resume all of them, less those that are finished already. A share owns its parts until
 * share_close. */
#ifndef TV_SHARE_H
#define TV_SHARE_H

#include "finish.h"

struct share;

/* "2/5" */
int share_read_part(const char *text, uint64_t *i, uint64_t *n, struct error *e);

/* `part` is NULL with --resume. In the open of stage `s`, which writes the tensors of plan->result;
 * refuses a chain with a stage that must see the whole model. Says on standard error what it finds
 * finished. NULL on error. */
struct share *share_open(struct stage *s, const char *target, bool force, const char *part,
                         const struct finish_plan *plan, const struct input *lender,
                         struct error *e);
struct parts *share_parts(const struct share *s);
/* Does it make what is beside the shards too? */
bool share_is_first(const struct share *s);
/* Is tensor `index` to be made, or (SIZE_MAX) read though it does not come as far as here? */
bool share_takes(const struct share *s, size_t index);
/* All of the tensor's bytes have been written. */
int share_tensor_done(struct share *s, size_t index, struct error *e);
/* All tensors are done; with --resume the result is published. */
int share_finish(struct share *s, struct error *e);
/* What is finished stays. NULL is allowed. */
void share_close(struct share *s);

#endif
