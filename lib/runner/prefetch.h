/* The tensor after the one at hand, read meanwhile off a stream into a hold of its own. It owns its
 * thread and, until prefetch_wait_for_tensor, the arena of the tensor. */
#ifndef TV_PREFETCH_H
#define TV_PREFETCH_H

#include "run_report.h"
#include "filter.h"
#include "tensor_buffer.h"

struct prefetch;

/* What it is and where it goes. */
struct prefetch_request {
    struct stage *source;       /* a stdio_stages_reader, stoppable */
    size_t index;               /* in the source's manifest */
    bool checks;                /* numbers must be finite */
    struct tensor_buffer *hold; /* in memory, reserved */
    size_t limit;               /* of the chunks that are taken while it comes */
    struct stage_cost *spent;   /* the account of the source */
};

/* NULL if there is no thread to be had. */
struct prefetch *prefetch_start(const struct prefetch_request *plan);
/* Waits for the tensor's header; the tensor, the job's state and the arena go to the caller. */
int prefetch_wait_for_tensor(struct prefetch *c, struct job *job, struct tensor *t, struct arena *a,
                             struct error *e);
/* Waits until a block is there. */
int prefetch_wait_for_block(struct prefetch *c, size_t block, struct error *e);
/* If blocks are not there yet, they are not wanted any more, nor anything behind them: the source
 * is stopped. NULL: nothing. */
void prefetch_stop(struct prefetch *c);

#endif
