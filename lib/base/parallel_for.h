/* Parallel loops over the compute threads: one pool for the process, which sleeps between loops.
 * The work on an item must not depend on the thread that does it; then the number of threads does
 * not change the result. */
#ifndef TV_PARALLEL_FOR_H
#define TV_PARALLEL_FOR_H

#include "error.h"

#include <stddef.h>

/* Sets the number of threads; 0: one per processor. Not while a loop runs. */
void parallel_set_threads(size_t n);
size_t parallel_thread_count(void);

/* Calls work(context, i, thread) for i = 0 .. n - 1 in any order, and returns when all calls have
 * returned. `cost` is roughly the number of elements that one call processes. `thread` is below
 * parallel_thread_count(), and no two calls that run at once have the same one: it can index
 * scratch memory. The calling thread does all the work, in order, if the loop is too short to
 * share, runs inside another loop, or runs while another thread has the pool. */
void parallel_for(size_t n, size_t cost, void (*work)(void *context, size_t i, size_t thread),
                  void *context);
/* The same for work that can fail with -1. Returns -1 with the error of one failed call. */
int parallel_for_checked(size_t n, size_t cost,
                         int (*work)(void *context, size_t i, size_t thread, struct error *e),
                         void *context, struct error *e);

/* The same for loops over single elements: calls work(context, first, count) for tiles of n
 * elements. */
void parallel_for_tiles(size_t n, void (*work)(void *context, size_t first, size_t count),
                        void *context);

#endif
