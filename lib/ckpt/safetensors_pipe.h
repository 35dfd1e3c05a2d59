/* A safetensors file that arrives through a pipe: its data are read once, in the order of the file,
 * or copied to a temporary file as a whole.
 *
 * A safetensors_pipe owns the input that it was given and the header until safetensors_pipe_close.
 */
#ifndef TV_SAFETENSORS_PIPE_H
#define TV_SAFETENSORS_PIPE_H

#include "byte_input.h"
#include "stored_tensors.h"

struct safetensors_pipe;

/* Reads the header and adds its tensors to `s`. Takes over `in`, also on error. NULL on error. */
struct safetensors_pipe *safetensors_pipe_open(struct byte_input *in, struct stored_tensors *s,
                                               struct error *e);
void safetensors_pipe_close(struct safetensors_pipe *p);
/* Reads on to the `size` bytes at `offset` of the data, which are available until the next call for
 * other bytes. They may lie inside those that are available, or after them. */
int safetensors_pipe_load(struct safetensors_pipe *p, uint64_t offset, size_t size,
                          struct error *e);
/* Available bytes. */
const unsigned char *safetensors_pipe_bytes(const struct safetensors_pipe *p, uint64_t offset);
/* Reads to the end. Missing bytes, and bytes that belong to no tensor, are errors. */
int safetensors_pipe_finish(struct safetensors_pipe *p, struct error *e);
/* Instead of reading: writes the file to `fd`. The same errors. */
int safetensors_pipe_copy_to_file(struct safetensors_pipe *p, int fd, struct error *e);

#endif
