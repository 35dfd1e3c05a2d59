#include "block_buffers.h"

#include "block_layout.h"

#include <stdlib.h>
#include <string.h>

/* Memory for n elements of each of K vectors, of at most 8 bytes, and the same again as F32. */
static void reserve_buffer_memory(struct block_buffer *b, size_t K, size_t n)
{
    size_t each = (n * 8 + 63) / 64 * 64;
    if (b->n_vectors == K && b->bytes_per_vector >= each)
        return;
    b->n_vectors = K;
    b->bytes_per_vector = each;
    b->wire = mem_resize(b->wire, K, sizeof *b->wire);
    b->floats = mem_resize(b->floats, K, sizeof *b->floats);
    block_layout_allocate_arrays(&b->block, K);
    free(b->memory);
    b->memory = mem_alloc_aligned(2 * each * K);
    for (size_t k = 0; k < K; k++) {
        b->wire[k] = b->memory + 2 * k * each;
        b->floats[k] = (float *)(b->memory + (2 * k + 1) * each);
    }
}

void block_buffers_init(struct block_buffers *all, size_t n)
{
    *all = (struct block_buffers){.n = n, .all = mem_alloc(n, sizeof *all->all)};
    pthread_mutex_init(&all->lock, NULL);
    for (size_t j = 0; j < n; j++)
        block_buffers_release(all, &all->all[j]);
}

struct block_buffer *block_buffers_acquire(struct block_buffers *all, size_t n_vectors,
                                           size_t elements)
{
    pthread_mutex_lock(&all->lock);
    struct block_buffer *b = all->idle;
    all->idle = b->next_idle;
    pthread_mutex_unlock(&all->lock);
    reserve_buffer_memory(b, n_vectors, elements);
    b->is_borrowed = false;
    return b;
}

void block_buffers_release(struct block_buffers *all, struct block_buffer *b)
{
    pthread_mutex_lock(&all->lock);
    b->next_idle = all->idle;
    all->idle = b;
    pthread_mutex_unlock(&all->lock);
}

static void free_block_buffer(struct block_buffer *b)
{
    free(b->wire);
    free(b->floats);
    block_layout_free(&b->block);
    free(b->memory);
}

void block_buffers_free(struct block_buffers *all)
{
    for (size_t j = 0; j < all->n; j++)
        free_block_buffer(&all->all[j]);
    free(all->all);
    pthread_mutex_destroy(&all->lock);
}

void block_buffers_convert_to_f32(struct block_buffer *b)
{
    struct block *block = &b->block;
    for (size_t k = 0; k < block->n_vectors; k++)
        if (block->dtypes[k] != DTYPE_F32 && dtype_is_float(block->dtypes[k])) {
            float *to = b->floats[block->buffer_of[k]];
            dtype_to_f32(block->dtypes[k], block->data[k], to, block->n);
            block->data[k] = to;
            block->dtypes[k] = DTYPE_F32;
        }
}

void block_buffers_convert_to_wire_dtype(const struct tensor *t, struct block_buffer *b)
{
    struct block *block = &b->block;
    for (size_t k = 0; k < block->n_vectors; k++) {
        enum dtype wire = t->vectors[k].dtype;
        if (block->dtypes[k] == wire || !dtype_is_float(wire))
            continue;
        void *to = b->wire[block->buffer_of[k]];
        dtype_from_f32(wire, block->data[k], to, block->n);
        block->data[k] = to;
        block->dtypes[k] = wire;
    }
}

void block_buffers_copy_borrowed_payload(struct block_buffer *b)
{
    struct block *block = &b->block;
    for (size_t k = 0; b->is_borrowed && k < block->n_vectors; k++) {
        void *own = b->wire[block->buffer_of[k]];
        if (block->data[k] == own || block->data[k] == b->floats[block->buffer_of[k]])
            continue;
        memcpy(own, block->data[k], dtype_bytes(block->dtypes[k], block->n));
        block->data[k] = own;
    }
    b->is_borrowed = false;
}
