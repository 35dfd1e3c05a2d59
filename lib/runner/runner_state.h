/* The state of a run, shared by the three parts of the runner: the chain (runner.c), one tensor
 * (tensor_run.c) and one pass over its blocks (block_pass.c). The state owns everything in it but
 * the stages. Stage 0 is the source, the last stage the sink. */
#ifndef TV_RUNNER_STATE_H
#define TV_RUNNER_STATE_H

#include "block_buffers.h"
#include "change_counts.h"
#include "filter.h"
#include "prefetch.h"
#include "progress.h"
#include "collected_hashes.h"
#include "held_rows.h"
#include "stage_cost.h"
#include "tensor_buffer.h"
#include "thread_pool.h"

#define DROPPED SIZE_MAX /* in manifest_map: a stage has dropped the tensor */

/* One of the blocks in flight. */
struct block_slot {
    struct block_buffer *buffer; /* NULL: not acquired yet, or released */
    struct block block;          /* copy of the buffer's block, for when that is released */
    void *work;                  /* the observer's work area */
    size_t work_capacity;
};

struct runner {
    struct stage *const *stages;
    size_t n_stages;
    size_t n_opened;          /* stages whose open was called */
    struct header **headers;  /* [stage]: the header that it sends */
    size_t **manifest_map;    /* [stage][index before it]: index after it, or DROPPED */
    size_t max_vectors;       /* of any tensor after any stage */
    struct stage_cost *costs; /* [stage] */
    struct collected_hashes hashes;
    struct progress *progress;     /* NULL: not shown */
    struct change_counts *changes; /* NULL: not counted */
    uint64_t peak_anonymous;       /* bytes, sampled */
    uint64_t memory_sampled_at;    /* by process_stats_monotonic_ns */

    /* The current tensor. */
    size_t index;                  /* in the source's manifest */
    size_t index_at_last;          /* in that of the last stage's input, or DROPPED */
    struct arena arena;            /* of its headers and of the stages' states */
    size_t n_begun;                /* jobs that have begun, and must end */
    struct job *jobs;              /* [stage] */
    struct tensor *tensors;        /* [stage]: the tensor as the stage sends it */
    enum plan *plans;              /* [stage] */
    struct tensor_buffer *payload; /* of the source, if is_buffered */
    bool is_buffered;              /* the payload is in the tensor buffer, or arriving there */
    struct prefetch *prefetch;     /* fills the tensor buffer; NULL: that is complete */
    struct held_rows held;         /* the payload after a stage, from where passes begin */
    bool is_known_finite;          /* a pass has found all numbers of the source to be finite */

    /* The next tensor, which is read while the current one is written. */
    struct tensor_buffer *next_payload;
    struct prefetch *next_prefetch; /* NULL: it is not being read */
    struct chunk_pool *chunks;      /* memory of both buffers */
    struct spool *file;             /* of the buffer whose tensor is too large for memory */

    /* Blocks in flight. */
    struct thread_pool *threads; /* NULL: this thread alone */
    size_t n_slots;
    struct block_slot *slots;
    struct block_buffers buffers; /* (n_slots) */
};

/* For a chain of n >= 2 stages; threads, memory and spool folder are the source's options. */
void runner_state_init(struct runner *r, struct stage *const *stages, size_t n);
void runner_state_free(struct runner *r);

/* Names stage s as the one that failed, unless the error came from another program. Returns -1. */
int runner_state_set_failed_stage(const struct runner *r, size_t s, struct error *e);
/* The scope of a stage under its options. */
enum scope runner_state_stage_scope(const struct stage *s);
/* Does an element-wise stage process the tensor? Others pass through unchanged. */
bool runner_state_stage_works_on(const struct stage *s, const struct tensor *t);
/* Does the source deliver its blocks only once, in stream order, until it is rewound? */
bool runner_state_source_is_one_pass(const struct runner *r);
/* Must the source's numbers be finite? Not where the stage after it accepts others too. */
bool runner_state_must_check_source(const struct runner *r);
/* The index in the sink's manifest of tensor `index` of the source, or DROPPED. */
size_t runner_state_find_sink_index(const struct runner *r, size_t index);
/* Ends the process with SIGPIPE, as a write would, if the reader of the sink's output has exited.
 */
void runner_state_exit_if_reader_gone(const struct runner *r);
/* Updates peak_anonymous, every 20 ms at most: the kernel keeps no peak of this. */
void runner_state_record_memory_use(struct runner *r);
/* An idle buffer with memory for a block of the current tensor. */
struct block_buffer *runner_state_acquire_buffer(struct runner *r);

#endif
