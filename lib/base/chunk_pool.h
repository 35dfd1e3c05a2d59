/* A pool of reusable memory chunks for several threads. A chunk belongs to the thread that acquired
 * it until chunk_pool_release; chunk_pool_free frees the idle chunks. */
#ifndef TV_CHUNK_POOL_H
#define TV_CHUNK_POOL_H

#include <stddef.h>

struct chunk_pool;

struct chunk_pool *chunk_pool_new(void);
/* NULL is allowed. */
void chunk_pool_free(struct chunk_pool *c);
/* `size` bytes, aligned to 64. Waits while the acquired chunks would exceed `limit` bytes in total,
 * unless none is acquired. */
void *chunk_pool_acquire(struct chunk_pool *c, size_t size, size_t limit);
/* NULL is allowed. */
void chunk_pool_release(struct chunk_pool *c, void *bytes);

#endif
