#include "hold.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

struct hold {
    struct chunks *chunks;
    size_t memory;
    size_t n;             /* blocks */
    unsigned char **kept; /* (n); NULL: not in memory */
    struct spool *file;
    bool in_file;
};

struct hold *hold_new(struct chunks *chunks, struct spool *file, size_t memory)
{
    struct hold *h = mem_alloc(1, sizeof *h);
    h->chunks = chunks;
    h->memory = memory;
    h->file = file;
    return h;
}

void hold_free(struct hold *h)
{
    if (!h)
        return;
    hold_clear(h);
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

uint64_t hold_size(const struct tensor *t)
{
    return place(t, tensor_elements(t), t->n_vectors);
}

uint64_t hold_size_in_chunks(const struct tensor *t)
{
    return tensor_blocks(t) * place(t, tensor_block_elements(t), t->n_vectors);
}

int hold_reserve(struct hold *h, const struct tensor *t, struct error *e)
{
    hold_clear(h);
    h->in_file = hold_size(t) > h->memory;
    if (h->in_file)
        return spool_reserve(h->file, hold_size(t), e);
    h->n = tensor_blocks(t);
    h->kept = mem_resize(h->kept, h->n, sizeof *h->kept);
    memset(h->kept, 0, h->n * sizeof *h->kept);
    return 0;
}

void hold_make_room(struct hold *h, const struct tensor *t, size_t block, size_t limit)
{
    size_t first, n;
    tensor_block(t, block, &first, &n);
    if (!h->in_file)
        h->kept[block] = chunks_take(h->chunks, place(t, n, t->n_vectors), limit);
}

void *hold_at(const struct hold *h, const struct tensor *t, size_t block, size_t k)
{
    size_t first, n;
    tensor_block(t, block, &first, &n);
    return h->in_file ? NULL : h->kept[block] + place(t, n, k);
}

/* Where a block of vector k begins in the file. */
static uint64_t file_place(const struct tensor *t, size_t block, size_t k, size_t *size)
{
    size_t first, n;
    enum dtype d = t->vectors[k].dtype;
    tensor_block(t, block, &first, &n);
    *size = dtype_bytes(d, n);
    return place(t, tensor_elements(t), k) + dtype_bytes(d, first);
}

int hold_write(struct hold *h, const struct tensor *t, size_t block, size_t k, const void *bytes,
               struct error *e)
{
    size_t size;
    uint64_t at = file_place(t, block, k, &size);
    return h->in_file ? spool_write(h->file, at, bytes, size, e) : 0;
}

int hold_read(const struct hold *h, const struct tensor *t, size_t block, size_t k, void *bytes,
              size_t size, struct error *e)
{
    size_t all;
    uint64_t at = file_place(t, block, k, &all);
    if (h->in_file)
        return spool_read(h->file, at, bytes, size, e);
    memcpy(bytes, hold_at(h, t, block, k), size);
    return 0;
}

void hold_give_back(struct hold *h, size_t block)
{
    if (h->in_file)
        return;
    chunks_give(h->chunks, h->kept[block]);
    h->kept[block] = NULL;
}

void hold_clear(struct hold *h)
{
    for (size_t i = 0; i < h->n; i++)
        chunks_give(h->chunks, h->kept[i]);
    h->n = 0;
    h->in_file = false;
}
