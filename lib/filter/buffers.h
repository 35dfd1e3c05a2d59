/* The payload of blocks in flight: as it travels, and widened to F32. */
#ifndef TV_BUFFERS_H
#define TV_BUFFERS_H

#include "filter.h"

#include <pthread.h>

struct buffer {
    struct block block;
    size_t room, n_vectors;
    unsigned char *memory;
    void **raw;
    float **wide;
    bool finite;         /* every number in it is known to be */
    struct buffer *next; /* of those that lie idle */
};

/* As many as there are blocks in flight at once. The one given back last, which is still in the
 * cache, is the next taken. */
struct buffers {
    size_t n;
    struct buffer *all, *idle;
    pthread_mutex_t lock;
};

void buffers_init(struct buffers *all, size_t n);
void buffers_free(struct buffers *all);
/* One with room for a block of that many vectors and elements. There must be one left. */
struct buffer *buffers_take(struct buffers *all, size_t n_vectors, size_t elements);
void buffers_give(struct buffers *all, struct buffer *b);

/* Floating payload as F32; and payload as `t` says it travels. */
void buffer_widen(struct buffer *b);
void buffer_narrow(const struct tensor *t, struct buffer *b);

#endif
