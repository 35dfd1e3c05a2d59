/* Writes a checkpoint as a folder, a single safetensors or GGUF file or an archive, so that it
 * appears complete or not at all: everything goes to a temporary folder or file next to the target,
 * which checkpoint_writer_commit syncs and renames.
 *
 * A checkpoint_writer owns its temporary files until checkpoint_writer_commit or
 * checkpoint_writer_abort. */
#ifndef TV_CHECKPOINT_WRITER_H
#define TV_CHECKPOINT_WRITER_H

#include "output_target.h"
#include "shard_layout.h"

#include <stddef.h>

struct checkpoint_writer;

/* `form` is that of the target's name; "-" may also be OUTPUT_SAFETENSORS, whose tensors are
 * written in the order in which they are declared. Checks the target (an existing one is an error
 * unless `force`) and that `need` bytes are free, and creates the temporary folder or file. NULL on
 * error. */
struct checkpoint_writer *checkpoint_writer_open(const char *target, enum output_form form,
                                                 bool force, const struct input_guard *guard,
                                                 uint64_t need, struct error *e);

/* Declares the tensors before any data, and writes the safetensors headers and the index. Sets
 * single_file_name and keeps_order of the layout itself, from the target's form. */
int checkpoint_writer_declare_tensors(struct checkpoint_writer *w,
                                      const struct shard_layout_spec *spec, struct error *e);

/* The same for a layout of one file in another format, which the writer takes over. */
int checkpoint_writer_declare_layout(struct checkpoint_writer *w, struct shard_layout *layout,
                                     struct error *e);

/* Writes bytes of tensor i at `offset` in it: in any order, from any thread, each byte once. */
int checkpoint_writer_write_tensor(struct checkpoint_writer *w, size_t i, uint64_t offset,
                                   const void *bytes, size_t size, struct error *e);

/* Writes an auxiliary file under a bare name; does nothing if the target is one weight file. In an
 * archive call it before the first checkpoint_writer_write_tensor or after the last. */
int checkpoint_writer_write_file(struct checkpoint_writer *w, const char *name, const void *bytes,
                                 size_t size, struct error *e);

/* Replaces the value of a declared metadata key, in every shard, by one of the same length: the
 * full hashes are known only after the data. In an archive and on standard output, where the
 * headers have been written, the old value stays. */
int checkpoint_writer_replace_metadata(struct checkpoint_writer *w, const char *key,
                                       const char *value, struct error *e);

/* Writes the weights that the joins used (used_weights_text; NULL: all were 1): to a file of their
 * own, or for OUTPUT_SAFETENSORS to the metadata, except on standard output. Call it after the last
 * checkpoint_writer_write_tensor. */
int checkpoint_writer_write_used_weights(struct checkpoint_writer *w, const char *text,
                                         struct error *e);

/* Checks that all data came, syncs everything and renames it to the target. With `force` an
 * existing target is exchanged for it and removed. Frees w, also on error. */
int checkpoint_writer_commit(struct checkpoint_writer *w, struct error *e)
    __attribute__((warn_unused_result));
/* Removes what was written. Frees w; NULL is allowed. */
void checkpoint_writer_abort(struct checkpoint_writer *w);

#endif
