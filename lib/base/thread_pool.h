/* A pool of threads that share numbered work items. Idle threads sleep instead of spinning, so that
 * other programs on the machine are not slowed down. A pool owns its threads until
 * thread_pool_free. */
#ifndef TV_THREAD_POOL_H
#define TV_THREAD_POOL_H

#include <stddef.h>

struct thread_pool;

/* A pool of `threads` threads, including the caller's. */
struct thread_pool *thread_pool_new(size_t threads);
void thread_pool_free(struct thread_pool *p);
/* Calls work(context, i) for i = 0 .. n - 1, in any order, on any thread; returns when all are
 * done. If the pool is NULL, the caller's thread calls them in order. */
void thread_pool_run(struct thread_pool *p, size_t n, void (*work)(void *context, size_t i),
                     void *context);

#endif
