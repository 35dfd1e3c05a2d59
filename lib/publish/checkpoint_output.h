/* The output of pack: a checkpoint written as a whole (checkpoint_writer.h), as a GGUF file
 * (gguf_output.h) or shard by shard (merge_part.h), behind one set of functions.
 *
 * A checkpoint_output owns what it points to until checkpoint_output_close. Zeroed, it is not open.
 * Several threads may write tensors at once. */
#ifndef TV_CHECKPOINT_OUTPUT_H
#define TV_CHECKPOINT_OUTPUT_H

#include "checkpoint_writer.h"
#include "gguf_output.h"
#include "merge_part.h"

struct checkpoint_output {
    struct checkpoint_writer *writer; /* of the whole; NULL: shard by shard */
    struct gguf_output *gguf;         /* encodes the elements; NULL: they are stored as they are */
    struct merge_part *part;          /* NULL: as a whole */
};

/* Where a whole checkpoint goes, as for checkpoint_writer_open. */
struct checkpoint_output_target {
    const char *path;
    enum output_form form;
    bool force;
    const struct input_guard *guard;
};

/* Opens an output of these tensors and metadata that needs `size` bytes. */
int checkpoint_output_open_whole(struct checkpoint_output *o,
                                 const struct checkpoint_output_target *target,
                                 const struct shard_layout_spec *spec, uint64_t size,
                                 struct error *e);
int checkpoint_output_open_gguf(struct checkpoint_output *o,
                                const struct checkpoint_output_target *target,
                                const struct gguf_output_spec *spec, struct error *e);
/* Takes over a merge_part, which merge_part_open has opened. */
void checkpoint_output_set_part(struct checkpoint_output *o, struct merge_part *part);
/* Removes what was written to a checkpoint that is not published, except for finished shards. */
void checkpoint_output_close(struct checkpoint_output *o);

/* Does this process write tensor `index`? */
bool checkpoint_output_wants_tensor(const struct checkpoint_output *o, size_t index);
/* Does this process write the auxiliary files? */
bool checkpoint_output_wants_auxiliary_files(const struct checkpoint_output *o);

/* Writes n elements of tensor `index`, of dtype `d`, from flat index `first` on. For GGUF files see
 * gguf_output_write_elements. */
int checkpoint_output_write_elements(struct checkpoint_output *o, size_t index, enum dtype d,
                                     size_t first, size_t n, const void *x, bool allow_nonfinite,
                                     struct error *e);
/* Call it when all elements of a tensor have been written. */
int checkpoint_output_record_finished_tensor(struct checkpoint_output *o, size_t index,
                                             struct error *e);
/* Writes the tensors of a GGUF file that are copied from the other one; else does nothing. */
int checkpoint_output_write_carried_tensors(struct checkpoint_output *o, struct error *e);
/* Writes an auxiliary file. An auxiliary_file_writer; `output` is a checkpoint_output. */
int checkpoint_output_write_file(void *output, const char *name, const void *bytes, size_t size,
                                 struct error *e);
/* Publishes a whole checkpoint. */
int checkpoint_output_commit(struct checkpoint_output *o, struct error *e)
    __attribute__((warn_unused_result));

#endif
