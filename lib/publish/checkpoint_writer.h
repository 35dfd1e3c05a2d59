/* Writing a checkpoint so that it appears whole or not at all. Everything goes to a temporary
 * folder (or file) beside the target; checkpoint_writer_commit syncs it and renames it into place;
 * checkpoint_writer_abort removes it. A publish owns its temporary files until one of the two. */
#ifndef TV_CHECKPOINT_WRITER_H
#define TV_CHECKPOINT_WRITER_H

#include "shard_layout.h"
#include "output_target.h"

#include <stddef.h>

struct checkpoint_writer;

/* Checks the target (an existing one is refused unless `force`), makes the temporary folder.
 * `need` bytes must be free where it lies. NULL on error. */
struct checkpoint_writer *checkpoint_writer_open(const char *target, bool force, uint64_t need,
                                                 struct error *e);

/* Declares the tensors of the checkpoint, before any data (`whole_name` and `as_they_come` follow
 * from the target's form), and writes the safetensors headers and the index. */
int checkpoint_writer_declare_tensors(struct checkpoint_writer *p,
                                      const struct shard_layout_spec *w, struct error *e);

/* Writes bytes of tensor i at `offset` in it. Any order, any thread, each byte once. */
int checkpoint_writer_write_tensor(struct checkpoint_writer *p, size_t i, uint64_t offset,
                                   const void *bytes, size_t size, struct error *e);

/* Adds a small file. The name is a bare file name. Nothing for OUTPUT_SAFETENSORS. In an archive
 * before the first checkpoint_writer_write_tensor or after the last. */
int checkpoint_writer_write_file(struct checkpoint_writer *p, const char *name, const void *bytes,
                                 size_t size, struct error *e);

/* Replaces the value of a metadata key declared in checkpoint_writer_declare_tensors by one of the
 * same length (the full hashes are known only after the data), in every shard. In an archive, whose
 * headers have gone, the value stays as it was declared. */
int checkpoint_writer_replace_metadata(struct checkpoint_writer *p, const char *key,
                                       const char *value, struct error *e);

/* Syncs everything and puts it in place. With `force` an existing target is exchanged for the new
 * one (renameat2) or moved aside and back on failure, and removed afterwards. Frees p. */
int checkpoint_writer_commit(struct checkpoint_writer *p, struct error *e)
    __attribute__((warn_unused_result));
/* Removes what was written. Frees p. NULL is allowed. */
void checkpoint_writer_abort(struct checkpoint_writer *p);

#endif
