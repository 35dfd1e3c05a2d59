/* Numbered pieces of work, done in order by a thread of their own, ahead of who waits for the first
 * of them. An ahead owns its thread until ahead_end. */
#ifndef TV_AHEAD_H
#define TV_AHEAD_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>

struct ahead;

/* work(context, i) for i = 0 .. n - 1, until one fails. NULL if there is no thread to be had. */
struct ahead *ahead_start(size_t n, int (*work)(void *context, size_t i, struct error *),
                          void *context);
/* When piece i is done: 0, or -1 with the sentence of the piece that failed, i or one before it. */
int ahead_wait(struct ahead *a, size_t i, struct error *e);
/* Is nothing left to do? */
bool ahead_is_done(struct ahead *a);
/* Waits for the piece at hand; no other is begun. NULL: nothing. */
void ahead_end(struct ahead *a);

#endif
