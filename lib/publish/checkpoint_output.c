#include "checkpoint_output.h"

/* ---- opening and closing --------------------------------------------------------------------- */

int checkpoint_output_open_whole(struct checkpoint_output *o,
                                 const struct checkpoint_output_target *target,
                                 const struct shard_layout_spec *spec, uint64_t size,
                                 struct error *e)
{
    o->writer =
        checkpoint_writer_open(target->path, target->form, target->force, target->guard, size, e);
    return o->writer ? checkpoint_writer_declare_tensors(o->writer, spec, e) : -1;
}

int checkpoint_output_open_gguf(struct checkpoint_output *o,
                                const struct checkpoint_output_target *target,
                                const struct gguf_output_spec *spec, struct error *e)
{
    o->gguf = gguf_output_new(spec, e);
    if (!o->gguf)
        return -1;
    struct shard_layout *layout = gguf_output_layout(o->gguf);
    uint64_t size = layout->shards[0].header_size + layout->shards[0].data_size;
    o->writer =
        checkpoint_writer_open(target->path, target->form, target->force, target->guard, size, e);
    if (o->writer)
        return checkpoint_writer_declare_layout(o->writer, layout, e);
    shard_layout_free(layout);
    return -1;
}

void checkpoint_output_set_part(struct checkpoint_output *o, struct merge_part *part)
{
    o->part = part;
}

void checkpoint_output_close(struct checkpoint_output *o)
{
    checkpoint_writer_abort(o->writer);
    merge_part_close(o->part);
    gguf_output_free(o->gguf);
    *o = (struct checkpoint_output){0};
}

int checkpoint_output_commit(struct checkpoint_output *o, struct error *e)
{
    struct checkpoint_writer *w = o->writer;
    o->writer = NULL; /* the commit frees it */
    return checkpoint_writer_commit(w, e);
}

/* ---- what this process writes ---------------------------------------------------------------- */

bool checkpoint_output_wants_tensor(const struct checkpoint_output *o, size_t index)
{
    return !o->part || merge_part_wants_tensor(o->part, index);
}

bool checkpoint_output_wants_auxiliary_files(const struct checkpoint_output *o)
{
    return !o->part || merge_part_is_first(o->part);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* A gguf_output_writer. */
static int write_tensor_bytes(void *output, size_t index, uint64_t offset, const void *x,
                              size_t size, struct error *e)
{
    const struct checkpoint_output *o = output;
    if (o->part)
        return partial_checkpoint_write_tensor(merge_part_checkpoint(o->part), index, offset, x,
                                               size, e);
    return checkpoint_writer_write_tensor(o->writer, index, offset, x, size, e);
}

int checkpoint_output_write_elements(struct checkpoint_output *o, size_t index, enum dtype d,
                                     size_t first, size_t n, const void *x, bool allow_nonfinite,
                                     struct error *e)
{
    if (o->gguf)
        return gguf_output_write_elements(o->gguf, index, first, n, x, allow_nonfinite,
                                          write_tensor_bytes, o, e);
    return write_tensor_bytes(o, index, dtype_bytes(d, first), x, dtype_bytes(d, n), e);
}

int checkpoint_output_record_finished_tensor(struct checkpoint_output *o, size_t index,
                                             struct error *e)
{
    return o->part ? merge_part_record_finished_tensor(o->part, index, e) : 0;
}

int checkpoint_output_write_carried_tensors(struct checkpoint_output *o, struct error *e)
{
    return o->gguf ? gguf_output_write_carried_tensors(o->gguf, write_tensor_bytes, o, e) : 0;
}

int checkpoint_output_write_file(void *output, const char *name, const void *bytes, size_t size,
                                 struct error *e)
{
    const struct checkpoint_output *o = output;
    if (o->part)
        return partial_checkpoint_write_file(merge_part_checkpoint(o->part), name, bytes, size, e);
    return checkpoint_writer_write_file(o->writer, name, bytes, size, e);
}
