#include "tensor_buffer.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

struct tensor_buffer {
    struct chunk_pool *chunks;
    size_t memory;
    size_t n;             /* blocks */
    unsigned char **kept; /* (n); NULL: not in memory */
    struct spool *file;
    bool in_file;
};

struct tensor_buffer *tensor_buffer_new(struct chunk_pool *chunks, struct spool *file,
                                        size_t memory)
{
    struct tensor_buffer *h = mem_alloc(1, sizeof *h);
    h->chunks = chunks;
    h->memory = memory;
    h->file = file;
    return h;
}

void tensor_buffer_free(struct tensor_buffer *h)
{
    if (!h)
        return;
    tensor_buffer_clear(h);
    free(h->kept);
    free(h);
}

/* Where element n of vector k is: one vector of n elements after another, each aligned. With k =
 * n_vectors, the size of all. */
static uint64_t place(const struct tensor *t, size_t n, size_t k)
{
    uint64_t at = 0;
    for (size_t j = 0; j < k; j++)
        at += (dtype_bytes(t->vectors[j].dtype, n) + 63) / 64 * 64;
    return at;
}

uint64_t tensor_buffer_bytes(const struct tensor *t)
{
    return place(t, tensor_elements(t), t->n_vectors);
}

uint64_t tensor_buffer_chunk_bytes(const struct tensor *t)
{
    return tensor_block_count(t) * place(t, tensor_block_elements(t), t->n_vectors);
}

int tensor_buffer_reserve(struct tensor_buffer *h, const struct tensor *t, struct error *e)
{
    tensor_buffer_clear(h);
    h->in_file = tensor_buffer_bytes(t) > h->memory;
    if (h->in_file)
        return spool_reserve(h->file, tensor_buffer_bytes(t), e);
    h->n = tensor_block_count(t);
    h->kept = mem_resize(h->kept, h->n, sizeof *h->kept);
    memset(h->kept, 0, h->n * sizeof *h->kept);
    return 0;
}

void tensor_buffer_allocate_block(struct tensor_buffer *h, const struct tensor *t, size_t block,
                                  size_t limit)
{
    size_t first, n;
    tensor_block_range(t, block, &first, &n);
    if (!h->in_file)
        h->kept[block] = chunk_pool_acquire(h->chunks, place(t, n, t->n_vectors), limit);
}

void *tensor_buffer_block_data(const struct tensor_buffer *h, const struct tensor *t, size_t block,
                               size_t k)
{
    size_t first, n;
    tensor_block_range(t, block, &first, &n);
    return h->in_file ? NULL : h->kept[block] + place(t, n, k);
}

/* Where a block of vector k begins in the file. */
static uint64_t file_place(const struct tensor *t, size_t block, size_t k, size_t *size)
{
    size_t first, n;
    enum dtype d = t->vectors[k].dtype;
    tensor_block_range(t, block, &first, &n);
    *size = dtype_bytes(d, n);
    return place(t, tensor_elements(t), k) + dtype_bytes(d, first);
}

int tensor_buffer_write_block(struct tensor_buffer *h, const struct tensor *t, size_t block,
                              size_t k, const void *bytes, struct error *e)
{
    size_t size;
    uint64_t at = file_place(t, block, k, &size);
    return h->in_file ? spool_write(h->file, at, bytes, size, e) : 0;
}

int tensor_buffer_read_block(const struct tensor_buffer *h, const struct tensor *t, size_t block,
                             size_t k, void *bytes, size_t size, struct error *e)
{
    size_t all;
    uint64_t at = file_place(t, block, k, &all);
    if (h->in_file)
        return spool_read(h->file, at, bytes, size, e);
    memcpy(bytes, tensor_buffer_block_data(h, t, block, k), size);
    return 0;
}

void tensor_buffer_free_block(struct tensor_buffer *h, size_t block)
{
    if (h->in_file)
        return;
    chunk_pool_release(h->chunks, h->kept[block]);
    h->kept[block] = NULL;
}

void tensor_buffer_clear(struct tensor_buffer *h)
{
    for (size_t i = 0; i < h->n; i++)
        chunk_pool_release(h->chunks, h->kept[i]);
    h->n = 0;
    h->in_file = false;
}
