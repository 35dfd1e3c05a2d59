/* Numbered pieces of work, done in order by a thread of their own, ahead of who waits for the first
 * of them. An ahead owns its thread until background_queue_stop. */
#ifndef TV_BACKGROUND_QUEUE_H
#define TV_BACKGROUND_QUEUE_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>

struct background_queue;

/* work(context, i) for i = 0 .. n - 1, until one fails. NULL if there is no thread to be had. */
struct background_queue *
background_queue_start(size_t n, int (*work)(void *context, size_t i, struct error *),
                       void *context);
/* When piece i is done: 0, or -1 with the sentence of the piece that failed, i or one before it. */
int background_queue_wait(struct background_queue *a, size_t i, struct error *e);
/* Is nothing left to do? */
bool background_queue_is_done(struct background_queue *a);
/* Waits for the piece at hand; no other is begun. NULL: nothing. */
void background_queue_stop(struct background_queue *a);

#endif
