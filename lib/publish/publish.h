/* Writing a checkpoint so that it appears whole or not at all. Everything goes to a temporary
 * folder (or file) beside the target; publish_commit syncs it and renames it into place;
 * publish_abort removes it. A publish owns its temporary files until one of the two. */
#ifndef TV_PUBLISH_H
#define TV_PUBLISH_H

#include "shards.h"
#include "output_target.h"

#include <stddef.h>

struct publish;

/* Checks the target (an existing one is refused unless `force`), makes the temporary folder.
 * `need` bytes must be free where it lies. NULL on error. */
struct publish *publish_open(const char *target, bool force, uint64_t need, struct error *e);

/* Declares the tensors of the checkpoint, before any data (`whole_name` and `as_they_come` follow
 * from the target's form), and writes the safetensors headers and the index. */
int publish_tensors(struct publish *p, const struct shards_wanted *w, struct error *e);

/* Writes bytes of tensor i at `offset` in it. Any order, any thread, each byte once. */
int publish_write(struct publish *p, size_t i, uint64_t offset, const void *bytes, size_t size,
                  struct error *e);

/* Adds a small file. The name is a bare file name. Nothing for PUBLISH_SAFETENSORS. In an archive
 * before the first publish_write or after the last. */
int publish_file(struct publish *p, const char *name, const void *bytes, size_t size,
                 struct error *e);

/* Replaces the value of a metadata key declared in publish_tensors by one of the same length
 * (the full hashes are known only after the data), in every shard. In an archive, whose headers
 * have gone, the value stays as it was declared. */
int publish_metadata(struct publish *p, const char *key, const char *value, struct error *e);

/* Syncs everything and puts it in place. With `force` an existing target is exchanged for the new
 * one (renameat2) or moved aside and back on failure, and removed afterwards. Frees p. */
int publish_commit(struct publish *p, struct error *e) __attribute__((warn_unused_result));
/* Removes what was written. Frees p. NULL is allowed. */
void publish_abort(struct publish *p);

#endif
