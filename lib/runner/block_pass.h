/* A pass over the blocks of the current tensor: each block is read from the source, from the tensor
 * buffer or from held rows, passes through the transforms of the stages in between, and is observed
 * or consumed by the last stage of the pass. Several blocks are in flight at once, on several
 * threads; reading a one-pass source, accumulating and consuming happen in block order. */
#ifndef TV_BLOCK_PASS_H
#define TV_BLOCK_PASS_H

#include "runner_state.h"

struct block_pass {
    size_t last_stage;       /* receives the blocks; the stages before it have decided */
    size_t sample_elements;  /* of each block that the last stage needs, at least; 0: all */
    bool observes;           /* the last stage observes and accumulates; else it consumes */
    struct held_rows *holds; /* it holds the blocks here instead; NULL */
    bool is_final;           /* no pass over this tensor follows */
    bool reads_stream;       /* blocks come in order from a one-pass source */
    bool fills_buffer;       /* ... and are written to the tensor buffer too, for later passes */
};

int block_pass_run(struct runner *r, const struct block_pass *p, struct error *e);

/* Reads the tensor's payload and discards it: to reach the next tensor of a one-pass source, or,
 * with `for_hash`, to let the source hash it. */
int block_pass_discard_payload(struct runner *r, bool for_hash, struct error *e);

#endif
