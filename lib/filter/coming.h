/* The tensor after the one at hand, read meanwhile off a stream into a hold of its own. It owns its
 * thread and, until coming_begin, the arena of the tensor. */
#ifndef TV_COMING_H
#define TV_COMING_H

#include "account.h"
#include "filter.h"
#include "hold.h"

struct coming;

/* What it is and where it goes. */
struct coming_plan {
    struct stage *source; /* a runner_reader, stoppable */
    size_t index;         /* in the source's manifest */
    bool checks;          /* numbers must be finite */
    struct hold *hold;    /* in memory, reserved */
    size_t limit;         /* of the chunks that are taken while it comes */
    struct spent *spent;  /* the account of the source */
};

/* NULL if there is no thread to be had. */
struct coming *coming_start(const struct coming_plan *plan);
/* Waits for the tensor's header; the tensor, the job's state and the arena go to the caller. */
int coming_begin(struct coming *c, struct job *job, struct tensor *t, struct arena *a,
                 struct error *e);
/* Waits until a block is there. */
int coming_wait(struct coming *c, size_t block, struct error *e);
/* If blocks are not there yet, they are not wanted any more, nor anything behind them: the source
 * is stopped. NULL: nothing. */
void coming_end(struct coming *c);

#endif
