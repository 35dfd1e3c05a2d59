/* A queue of numbered work items that one background thread processes in order, ahead of the
 * threads that wait for them. A background_queue owns its thread until background_queue_stop. */
#ifndef TV_BACKGROUND_QUEUE_H
#define TV_BACKGROUND_QUEUE_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>

struct background_queue;

/* Starts work(context, i) for i = 0 .. n - 1, until one fails. NULL if no thread can be created. */
struct background_queue *
background_queue_start(size_t n, int (*work)(void *context, size_t i, struct error *),
                       void *context);
/* Waits for item i: 0 when it is done, -1 with the error of the item that failed (i or an earlier
 * one). */
int background_queue_wait_for_item(struct background_queue *q, size_t i, struct error *e);
/* True if all items are done or one has failed. */
bool background_queue_is_done(struct background_queue *q);
/* Waits for the item being processed, starts no other, and frees the queue. NULL is allowed. */
void background_queue_stop(struct background_queue *q);

#endif
