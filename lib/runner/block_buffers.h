/* The payload of blocks in flight: as it travels, and widened to F32. */
#ifndef TV_BLOCK_BUFFERS_H
#define TV_BLOCK_BUFFERS_H

#include "filter.h"

#include <pthread.h>

struct block_buffer {
    struct block block;
    size_t room, n_vectors;
    unsigned char *memory;
    void **raw;
    float **wide;
    bool finite;               /* every number in it is known to be */
    struct block_buffer *next; /* of those that lie idle */
};

/* As many as there are blocks in flight at once. The one given back last, which is still in the
 * cache, is the next taken. */
struct block_buffers {
    size_t n;
    struct block_buffer *all, *idle;
    pthread_mutex_t lock;
};

void block_buffers_init(struct block_buffers *all, size_t n);
void block_buffers_free(struct block_buffers *all);
/* One with room for a block of that many vectors and elements. There must be one left. */
struct block_buffer *block_buffers_acquire(struct block_buffers *all, size_t n_vectors,
                                           size_t elements);
void block_buffers_release(struct block_buffers *all, struct block_buffer *b);

/* Floating payload as F32; and payload as `t` says it travels. */
void block_buffers_convert_to_f32(struct block_buffer *b);
void block_buffers_convert_to_wire_dtype(const struct tensor *t, struct block_buffer *b);

#endif
