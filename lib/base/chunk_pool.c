#include "chunk_pool.h"

#include "mem.h"

#include <pthread.h>
#include <stdlib.h>

struct chunk {
    _Alignas(64) struct chunk *next; /* of those that lie idle */
    size_t room, size;               /* bytes; that were asked for */
    _Alignas(64) unsigned char bytes[];
};

struct chunk_pool {
    pthread_mutex_t lock;
    pthread_cond_t given;
    struct chunk *idle;
    size_t taken; /* bytes that were asked for */
};

struct chunk_pool *chunk_pool_new(void)
{
    struct chunk_pool *c = mem_alloc(1, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->given, NULL);
    return c;
}

/* Frees idle chunks up to the first that has room for `size` bytes. */
static void drop_small(struct chunk_pool *c, size_t size)
{
    while (c->idle && c->idle->room < size) {
        struct chunk *next = c->idle->next;
        free(c->idle);
        c->idle = next;
    }
}

void chunk_pool_free(struct chunk_pool *c)
{
    if (!c)
        return;
    drop_small(c, (size_t)-1);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->given);
    free(c);
}

void *chunk_pool_acquire(struct chunk_pool *c, size_t size, size_t limit)
{
    pthread_mutex_lock(&c->lock);
    while (c->taken > 0 && (size > limit || c->taken > limit - size))
        pthread_cond_wait(&c->given, &c->lock);
    drop_small(c, size);
    struct chunk *chunk = c->idle;
    if (chunk) {
        c->idle = chunk->next;
    } else {
        chunk = mem_alloc_aligned(sizeof *chunk + size);
        chunk->room = size;
    }
    chunk->size = size;
    c->taken += size;
    pthread_mutex_unlock(&c->lock);
    return chunk->bytes;
}

void chunk_pool_release(struct chunk_pool *c, void *bytes)
{
    if (!bytes)
        return;
    struct chunk *chunk = (struct chunk *)((unsigned char *)bytes - offsetof(struct chunk, bytes));
    pthread_mutex_lock(&c->lock);
    c->taken -= chunk->size;
    chunk->next = c->idle;
    c->idle = chunk;
    pthread_cond_signal(&c->given);
    pthread_mutex_unlock(&c->lock);
}
