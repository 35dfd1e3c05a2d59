/* The threads that compute: one pool for all of a process, which sleeps between two loops. What a
 * loop does must not depend on which thread does it; then the number of threads changes nothing. */
#ifndef TV_PARALLEL_FOR_H
#define TV_PARALLEL_FOR_H

#include "error.h"

#include <stddef.h>

/* That many from now on; 0: as many as there are processors. Not while a loop runs. */
void parallel_set_threads(size_t n);
size_t parallel_threads(void);

/* work(context, i, member) for i = 0 .. n - 1, each of about `cost` elements, in any order; returns
 * when all are done. Of those at work at one time no two have the same `member`, which is below
 * parallel_threads(): it chooses scratch memory. All is done here, in order, where it is too little
 * to share, inside another loop, and while another thread has one under way. */
void parallel_for(size_t n, size_t cost, void (*work)(void *context, size_t i, size_t member),
                  void *context);
/* The same for work that may fail: -1 and the error of one that did. */
int parallel_for_checked(size_t n, size_t cost,
                         int (*work)(void *context, size_t i, size_t member, struct error *e),
                         void *context, struct error *e);

#endif
