/* The payload of one tensor, kept for later: block by block in memory that may be given back before
 * the others, or, above a limit, in an unlinked temporary file. A hold owns what it keeps until
 * tensor_buffer_clear; different blocks may be written and read at once. */
#ifndef TV_TENSOR_BUFFER_H
#define TV_TENSOR_BUFFER_H

#include "chunk_pool.h"
#include "error.h"
#include "spool.h"
#include "tensor.h"

#include <stdint.h>

struct tensor_buffer;

/* `memory`: bytes of a tensor above which it goes to the file. Chunks and file are borrowed; holds
 * may share the chunks at any time, the file one after another. */
struct tensor_buffer *tensor_buffer_new(struct chunk_pool *chunks, struct spool *file,
                                        size_t memory);
void tensor_buffer_free(struct tensor_buffer *h);
/* The bytes of a tensor, and the most that its blocks take in chunks. */
uint64_t tensor_buffer_bytes(const struct tensor *t);
uint64_t tensor_buffer_chunk_bytes(const struct tensor *t);
/* Forgets what was there and prepares for a tensor, checked on the disk where it goes there. */
int tensor_buffer_reserve(struct tensor_buffer *h, const struct tensor *t, struct error *e);
/* Makes room for a block, waiting until no more than `limit` bytes of the chunks are taken. */
void tensor_buffer_allocate_block(struct tensor_buffer *h, const struct tensor *t, size_t block,
                                  size_t limit);
/* Where vector k of a block lies in memory; NULL if it is in the file. */
void *tensor_buffer_block_data(const struct tensor_buffer *h, const struct tensor *t, size_t block,
                               size_t k);
/* Vector k of a block to the file, and from wherever it is its first `size` bytes. */
int tensor_buffer_write_block(struct tensor_buffer *h, const struct tensor *t, size_t block,
                              size_t k, const void *bytes, struct error *e);
int tensor_buffer_read_block(const struct tensor_buffer *h, const struct tensor *t, size_t block,
                             size_t k, void *bytes, size_t size, struct error *e);
/* Nobody will want the block again. */
void tensor_buffer_free_block(struct tensor_buffer *h, size_t block);
void tensor_buffer_clear(struct tensor_buffer *h);

#endif
