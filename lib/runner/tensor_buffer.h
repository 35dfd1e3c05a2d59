/* The payload of one tensor, kept for another pass: in memory, block by block, or in an unlinked
 * temporary file if it is larger than a limit. A buffer owns the payload until tensor_buffer_clear;
 * chunks and file are borrowed. Threads may write and read different blocks at once. */
#ifndef TV_TENSOR_BUFFER_H
#define TV_TENSOR_BUFFER_H

#include "chunk_pool.h"
#include "filter.h"
#include "spool.h"

struct tensor_buffer;

/* A tensor of more than `memory` bytes is stored in the file. Several buffers may share the chunks
 * at the same time, but not the file. */
struct tensor_buffer *tensor_buffer_new(struct chunk_pool *chunks, struct spool *file,
                                        size_t memory);
void tensor_buffer_free(struct tensor_buffer *tb);
/* Bytes of a tensor's payload, and the maximum that its blocks occupy in chunks. */
uint64_t tensor_buffer_bytes(const struct tensor *t);
uint64_t tensor_buffer_max_chunk_bytes(const struct tensor *t);
/* Clears the buffer and prepares it for a tensor; checks the free disk space if the tensor is
 * stored in the file. */
int tensor_buffer_reserve(struct tensor_buffer *tb, const struct tensor *t, struct error *e);
void tensor_buffer_clear(struct tensor_buffer *tb);

/* `b` is a block of `t` as block_layout_set_to_block makes it, for which the buffer was reserved.
 * Allocate, bind and free do nothing for a tensor in the file, and write does nothing for one in
 * memory. */

/* Allocates the block's memory, waiting until no more than `limit` bytes of the chunks are in use.
 */
void tensor_buffer_allocate_block(struct tensor_buffer *tb, const struct tensor *t,
                                  const struct block *b, size_t limit);
/* Points the block's data at its memory in the buffer. */
void tensor_buffer_point_block_at_memory(const struct tensor_buffer *tb, const struct tensor *t,
                                         struct block *b);
/* Writes the block's data to the file. */
int tensor_buffer_write_block(struct tensor_buffer *tb, const struct tensor *t,
                              const struct block *b, struct error *e);
/* Copies the block's first n elements to where its data points; vectors that are bound to the
 * buffer's memory are there already. */
int tensor_buffer_read_block(const struct tensor_buffer *tb, const struct tensor *t,
                             const struct block *b, size_t n, struct error *e);
/* Releases the memory of block `index`, which will not be read again. */
void tensor_buffer_free_block(struct tensor_buffer *tb, size_t index);

#endif
