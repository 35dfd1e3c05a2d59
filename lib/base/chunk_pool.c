#include "chunk_pool.h"

#include "mem.h"

#include <pthread.h>
#include <stdlib.h>

struct chunk {
    _Alignas(64) struct chunk *next; /* next idle chunk */
    size_t capacity, size;           /* allocated bytes; requested bytes */
    _Alignas(64) unsigned char bytes[];
};

struct chunk_pool {
    pthread_mutex_t lock;
    pthread_cond_t released;
    struct chunk *idle;
    size_t acquired; /* requested bytes of all chunks in use */
};

struct chunk_pool *chunk_pool_new(void)
{
    struct chunk_pool *c = mem_alloc(1, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->released, NULL);
    return c;
}

/* Frees idle chunks up to the first that holds `size` bytes. */
static void free_smaller_chunks(struct chunk_pool *c, size_t size)
{
    while (c->idle && c->idle->capacity < size) {
        struct chunk *next = c->idle->next;
        free(c->idle);
        c->idle = next;
    }
}

void chunk_pool_free(struct chunk_pool *c)
{
    if (!c)
        return;
    free_smaller_chunks(c, (size_t)-1);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->released);
    free(c);
}

void *chunk_pool_acquire(struct chunk_pool *c, size_t size, size_t limit)
{
    pthread_mutex_lock(&c->lock);
    while (c->acquired > 0 && (size > limit || c->acquired > limit - size))
        pthread_cond_wait(&c->released, &c->lock);
    free_smaller_chunks(c, size);
    struct chunk *chunk = c->idle;
    if (chunk) {
        c->idle = chunk->next;
    } else {
        chunk = mem_alloc_aligned(sizeof *chunk + size);
        chunk->capacity = size;
    }
    chunk->size = size;
    c->acquired += size;
    pthread_mutex_unlock(&c->lock);
    return chunk->bytes;
}

void chunk_pool_release(struct chunk_pool *c, void *bytes)
{
    if (!bytes)
        return;
    struct chunk *chunk = (struct chunk *)((unsigned char *)bytes - offsetof(struct chunk, bytes));
    pthread_mutex_lock(&c->lock);
    c->acquired -= chunk->size;
    chunk->next = c->idle;
    c->idle = chunk;
    pthread_cond_signal(&c->released);
    pthread_mutex_unlock(&c->lock);
}
