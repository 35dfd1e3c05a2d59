/* Prefetch of the next tensor: a separate thread reads it from a stream into a tensor buffer while
 * the current tensor is being written. A prefetch owns its thread and, until
 * prefetch_wait_for_tensor, the arena of the tensor; source, buffer and cost are borrowed. */
#ifndef TV_PREFETCH_H
#define TV_PREFETCH_H

#include "filter.h"
#include "stage_cost.h"
#include "tensor_buffer.h"

struct prefetch;

/* What to read, and into what. */
struct prefetch_request {
    struct stage *source;         /* has `stop_reading`; make_stoppable has succeeded */
    size_t index;                 /* in the source's manifest */
    bool checks_finite;           /* a non-finite number is an error */
    struct tensor_buffer *buffer; /* reserved for the tensor, in memory */
    size_t max_chunk_bytes;       /* in use at once, by all buffers, while it is read */
    struct stage_cost *cost;      /* of the source */
};

/* Starts to read. NULL if no thread can be started. */
struct prefetch *prefetch_start(const struct prefetch_request *request);
/* Waits for the tensor's header. The tensor, the state of the source's job and the arena in which
 * both lie become the caller's. */
int prefetch_wait_for_tensor(struct prefetch *p, struct job *job, struct tensor *t, struct arena *a,
                             struct error *e);
/* Waits until block `index` is in the buffer. */
int prefetch_wait_for_block(struct prefetch *p, size_t index, struct error *e);
/* Ends the prefetch. If blocks are still missing, the source is stopped and cannot be read any
 * further. Does nothing for NULL. */
void prefetch_stop(struct prefetch *p);

#endif
