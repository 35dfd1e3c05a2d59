/* Pieces of memory that change hands: what one gives back another takes, from any thread. A chunk
 * belongs to who took it until chunk_pool_release; the rest goes with chunk_pool_free. */
#ifndef TV_CHUNK_POOL_H
#define TV_CHUNK_POOL_H

#include <stddef.h>

struct chunk_pool;

struct chunk_pool *chunk_pool_new(void);
void chunk_pool_free(struct chunk_pool *c);
/* `size` bytes, aligned for vectors. Waits until no more than `limit` bytes will be taken with
 * them. */
void *chunk_pool_acquire(struct chunk_pool *c, size_t size, size_t limit);
/* NULL: nothing. */
void chunk_pool_release(struct chunk_pool *c, void *bytes);

#endif
