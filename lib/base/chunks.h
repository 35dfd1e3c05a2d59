/* Pieces of memory that change hands: what one gives back another takes, from any thread. A chunk
 * belongs to who took it until chunks_give; the rest goes with chunks_free. */
#ifndef TV_CHUNKS_H
#define TV_CHUNKS_H

#include <stddef.h>

struct chunks;

struct chunks *chunks_new(void);
void chunks_free(struct chunks *c);
/* `size` bytes, aligned for vectors. Waits until no more than `limit` bytes will be taken with
 * them. */
void *chunks_take(struct chunks *c, size_t size, size_t limit);
/* NULL: nothing. */
void chunks_give(struct chunks *c, void *bytes);

#endif
