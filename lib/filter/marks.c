#include "marks.h"

#include "mem.h"

#include <string.h>

#define KEPT_MAX ((size_t)32 << 20) /* bytes */

static size_t sums_size(const struct marks *m)
{
    return (m->n_vectors * sizeof(double) + 63) / 64 * 64;
}

struct marks marks_in(struct arena *a, const struct tensor *t, size_t block_bytes)
{
    struct marks m = {.n_vectors = t->n_vectors, .block_bytes = block_bytes};
    size_t blocks = tensor_blocks(t), each = block_bytes * t->n_vectors;
    if (blocks <= KEPT_MAX / (each ? each : 1))
        m.bits = arena_alloc(a, blocks, each);
    return m;
}

size_t marks_work_size(const struct marks *m)
{
    return sums_size(m) + m->n_vectors * m->block_bytes;
}

unsigned char *marks_found(const struct marks *m, void *work, size_t k)
{
    return (unsigned char *)work + sums_size(m) + k * m->block_bytes;
}

void marks_merge(const struct marks *m, size_t block, void *work)
{
    if (m->bits)
        memcpy(m->bits + block * m->n_vectors * m->block_bytes, marks_found(m, work, 0),
               m->n_vectors * m->block_bytes);
}

const unsigned char *marks_at(const struct marks *m, size_t block, size_t k)
{
    return m->bits + (block * m->n_vectors + k) * m->block_bytes;
}
