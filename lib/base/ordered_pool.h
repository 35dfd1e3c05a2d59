/* Numbered work items on a thread pool: the items are worked on in parallel, but begin and end one
 * at a time, in order. A new item begins as soon as the oldest one in flight has ended. */
#ifndef TV_ORDERED_POOL_H
#define TV_ORDERED_POOL_H

#include "error.h"
#include "thread_pool.h"

/* The steps of item i; each returns 0 or -1. `slot` < slots differs among the items in flight. */
struct ordered_steps {
    int (*begin)(void *context, size_t slot, size_t i, struct error *); /* in order; NULL: none */
    int (*work)(void *context, size_t slot, size_t i, struct error *);  /* in parallel */
    int (*end)(void *context, size_t slot, size_t i, struct error *);   /* in order; NULL: none */
};

/* Runs the steps of items 0 .. n - 1, with at most `slots` items in flight. After a failure no step
 * of a later item is started; returns -1 with the error of the first item that failed, which does
 * not depend on the number of threads. */
int ordered_pool_run(struct thread_pool *p, size_t n, size_t slots,
                     const struct ordered_steps *steps, void *context, struct error *e);

#endif
