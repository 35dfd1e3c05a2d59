#include "tensor_buffer.h"

#include <stdlib.h>
#include <string.h>

struct tensor_buffer {
    struct chunk_pool *chunks;
    size_t memory;
    size_t n_blocks;
    unsigned char **blocks; /* (n_blocks); NULL: not in memory */
    struct spool *file;
    bool in_file;
};

struct tensor_buffer *tensor_buffer_new(struct chunk_pool *chunks, struct spool *file,
                                        size_t memory)
{
    struct tensor_buffer *tb = mem_alloc(1, sizeof *tb);
    tb->chunks = chunks;
    tb->memory = memory;
    tb->file = file;
    return tb;
}

void tensor_buffer_free(struct tensor_buffer *tb)
{
    if (!tb)
        return;
    tensor_buffer_clear(tb);
    free(tb->blocks);
    free(tb);
}

/* Offset of vector k where vectors of n elements lie one after another, each aligned. With k =
 * n_vectors, the size of all. */
static uint64_t compute_vector_offset(const struct tensor *t, size_t n, size_t k)
{
    uint64_t offset = 0;
    for (size_t j = 0; j < k; j++)
        offset += (dtype_bytes(t->vectors[j].dtype, n) + 63) / 64 * 64;
    return offset;
}

uint64_t tensor_buffer_bytes(const struct tensor *t)
{
    return compute_vector_offset(t, tensor_elements(t), t->n_vectors);
}

uint64_t tensor_buffer_max_chunk_bytes(const struct tensor *t)
{
    return tensor_block_count(t) * compute_vector_offset(t, tensor_block_elements(t), t->n_vectors);
}

int tensor_buffer_reserve(struct tensor_buffer *tb, const struct tensor *t, struct error *e)
{
    tensor_buffer_clear(tb);
    tb->in_file = tensor_buffer_bytes(t) > tb->memory;
    if (tb->in_file)
        return spool_reserve(tb->file, tensor_buffer_bytes(t), e);
    tb->n_blocks = tensor_block_count(t);
    tb->blocks = mem_resize(tb->blocks, tb->n_blocks, sizeof *tb->blocks);
    memset(tb->blocks, 0, tb->n_blocks * sizeof *tb->blocks);
    return 0;
}

void tensor_buffer_clear(struct tensor_buffer *tb)
{
    for (size_t i = 0; i < tb->n_blocks; i++)
        chunk_pool_release(tb->chunks, tb->blocks[i]);
    tb->n_blocks = 0;
    tb->in_file = false;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

void tensor_buffer_allocate_block(struct tensor_buffer *tb, const struct tensor *t,
                                  const struct block *b, size_t limit)
{
    if (!tb->in_file)
        tb->blocks[b->index] =
            chunk_pool_acquire(tb->chunks, compute_vector_offset(t, b->n, t->n_vectors), limit);
}

void tensor_buffer_point_block_at_memory(const struct tensor_buffer *tb, const struct tensor *t,
                                         struct block *b)
{
    for (size_t k = 0; !tb->in_file && k < t->n_vectors; k++)
        b->data[k] = tb->blocks[b->index] + compute_vector_offset(t, b->n, k);
}

/* Where the block of vector k begins in the file, which holds one whole vector after another. */
static uint64_t block_file_offset(const struct tensor *t, const struct block *b, size_t k)
{
    return compute_vector_offset(t, tensor_elements(t), k) +
           dtype_bytes(t->vectors[k].dtype, b->first);
}

int tensor_buffer_write_block(struct tensor_buffer *tb, const struct tensor *t,
                              const struct block *b, struct error *e)
{
    for (size_t k = 0; tb->in_file && k < t->n_vectors; k++)
        if (spool_write_at(tb->file, block_file_offset(t, b, k), b->data[k],
                           dtype_bytes(t->vectors[k].dtype, b->n), e))
            return -1;
    return 0;
}

int tensor_buffer_read_block(const struct tensor_buffer *tb, const struct tensor *t,
                             const struct block *b, size_t n, struct error *e)
{
    for (size_t k = 0; k < t->n_vectors; k++) {
        size_t size = dtype_bytes(t->vectors[k].dtype, n);
        if (tb->in_file) {
            if (spool_read_at(tb->file, block_file_offset(t, b, k), b->data[k], size, e))
                return -1;
            continue;
        }
        const void *kept = tb->blocks[b->index] + compute_vector_offset(t, b->n, k);
        if (b->data[k] != kept)
            memcpy(b->data[k], kept, size);
    }
    return 0;
}

void tensor_buffer_free_block(struct tensor_buffer *tb, size_t index)
{
    if (tb->in_file)
        return;
    chunk_pool_release(tb->chunks, tb->blocks[index]);
    tb->blocks[index] = NULL;
}
