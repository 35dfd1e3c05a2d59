/* Threads that share numbered pieces of work and sleep in between: neighbours on a busy machine
 * lose nothing to threads that wait. A pool owns its threads until thread_pool_free. */
#ifndef TV_THREAD_POOL_H
#define TV_THREAD_POOL_H

#include <stddef.h>

struct thread_pool;

/* `threads` in all, the caller's own included. */
struct thread_pool *thread_pool_new(size_t threads);
void thread_pool_free(struct thread_pool *p);
/* work(context, i) for i = 0 .. n - 1, in any order, on any thread; returns when all are done. A
 * pool of NULL does them here, in order. */
void thread_pool_run(struct thread_pool *p, size_t n, void (*work)(void *context, size_t i),
                     void *context);

#endif
