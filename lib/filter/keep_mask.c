#include "keep_mask.h"

#include "mem.h"

#include <string.h>

#define STORED_MAX ((size_t)32 << 20) /* bytes of bits, for one tensor */

static size_t sums_size(const struct keep_mask *m)
{
    return (2 * m->n_vectors * sizeof(double) + 63) / 64 * 64;
}

struct keep_mask keep_mask_new(const struct job *job)
{
    const struct tensor *t = job->in;
    struct keep_mask m = {.n_vectors = t->n_vectors, .block_bytes = (job->block_elements + 7) / 8};
    bool has_long_rows = job->block_elements > tensor_block_elements(t); /* each one is a block */
    size_t blocks =
        has_long_rows ? tensor_elements(t) / job->block_elements : tensor_block_count(t);
    size_t bytes = m.block_bytes * t->n_vectors;
    if (blocks <= STORED_MAX / (bytes ? bytes : 1))
        m.bits = arena_alloc(job->arena, blocks, bytes);
    return m;
}

size_t keep_mask_work_size(const struct keep_mask *m)
{
    return sums_size(m) + m->n_vectors * m->block_bytes;
}

unsigned char *keep_mask_work_bits(const struct keep_mask *m, void *work, size_t k)
{
    return (unsigned char *)work + sums_size(m) + k * m->block_bytes;
}

void keep_mask_store_block(const struct keep_mask *m, size_t block, void *work)
{
    if (m->bits)
        memcpy(m->bits + block * m->n_vectors * m->block_bytes, keep_mask_work_bits(m, work, 0),
               m->n_vectors * m->block_bytes);
}

const unsigned char *keep_mask_block_bits(const struct keep_mask *m, size_t block, size_t k)
{
    return m->bits + (block * m->n_vectors + k) * m->block_bytes;
}
