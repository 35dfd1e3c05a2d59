/* Numbered pieces of work on the threads of a pool, whose first and last part are done one at a
 * time, in order. Nobody waits for a round to end: the pieces in flight move on like a caterpillar.
 */
#ifndef TV_ORDERED_POOL_H
#define TV_ORDERED_POOL_H

#include "error.h"
#include "thread_pool.h"

/* The parts of piece i, 0 or -1 each; `slot` is below the number of pieces in flight, and no other
 * piece in flight has the same. */
struct ordered_steps {
    int (*begin)(void *context, size_t slot, size_t i, struct error *); /* may be NULL */
    int (*work)(void *context, size_t slot, size_t i, struct error *);
    int (*end)(void *context, size_t slot, size_t i, struct error *);
};

/* n pieces, at most `slots` of them in flight. After a failure no later piece goes on; returns -1
 * with the sentence of the first piece that failed, which is the same with any number of threads.
 */
int ordered_pool_run(struct thread_pool *p, size_t n, size_t slots,
                     const struct ordered_steps *parts, void *context, struct error *e);

#endif
