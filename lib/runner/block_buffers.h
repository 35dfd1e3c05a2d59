/* Memory for the payload of blocks in flight: each vector in the dtype of the stream, and as F32.
 * A buffer belongs to whoever acquired it until block_buffers_release; the pool owns all memory. */
#ifndef TV_BLOCK_BUFFERS_H
#define TV_BLOCK_BUFFERS_H

#include "filter.h"

#include <pthread.h>

struct block_buffer {
    struct block block;
    size_t bytes_per_vector, n_vectors; /* that there is memory for */
    unsigned char *memory;
    void **wire;      /* [vector]: memory for the dtype of the stream */
    float **floats;   /* [vector]: memory for F32 */
    bool is_borrowed; /* some payload is in memory of the source, which is only read */
    bool is_finite;   /* every number in it is known to be finite */
    size_t nonzero;   /* see change_counts.h */
    struct block_buffer *next_idle;
};

/* As many buffers as there are blocks in flight at once. The buffer that was released last, which
 * is still in the cache, is acquired first. */
struct block_buffers {
    size_t n;
    struct block_buffer *all, *idle;
    pthread_mutex_t lock;
};

void block_buffers_init(struct block_buffers *all, size_t n);
void block_buffers_free(struct block_buffers *all);
/* An idle buffer with memory for a block of that many vectors and elements. There must be one. */
struct block_buffer *block_buffers_acquire(struct block_buffers *all, size_t n_vectors,
                                           size_t elements);
void block_buffers_release(struct block_buffers *all, struct block_buffer *b);

/* Converts floating payload to F32, or to the dtypes in which `t` travels in the stream. */
void block_buffers_convert_to_f32(struct block_buffer *b);
void block_buffers_convert_to_wire_dtype(const struct tensor *t, struct block_buffer *b);
/* Copies payload that is still in memory of the source. */
void block_buffers_copy_borrowed_payload(struct block_buffer *b);

#endif
