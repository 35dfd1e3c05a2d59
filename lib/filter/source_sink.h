/* What only sources and sinks set in their descriptor (filter.h). */
#ifndef TV_SOURCE_SINK_H
#define TV_SOURCE_SINK_H

#include "block.h"
#include "job.h"

struct filter;

/* A source produces tensors; its `open` fills in an empty header, its `begin_tensor` may complete
 * job->out. */
struct source_functions {
    /* Fills in a block of a tensor: any block, on any thread, any number of times; if there is a
     * `rewind`, in stream order and once per pass. data[k] points to the runner's memory; blocks in
     * any order may be given memory of the source instead, which is only read. */
    int (*fill_block)(const struct job *, struct block *, struct error *);
    /* Back to the first tensor. Called between passes, and once before the first if there will be
     * several. NULL: blocks can be filled in any order. */
    int (*rewind)(struct stage *, struct error *);
    /* With a `rewind`, which makes it false: are blocks filled in stream order? NULL: always. */
    bool (*is_one_pass)(const struct stage *);
    /* For streams, both or neither; the runner prefetches the next tensor of such a source. */
    int (*make_stoppable)(struct stage *); /* before stop_reading; -1 if that is impossible */
    void (*stop_reading)(struct stage *);  /* makes a waiting fill fail; from another thread */
    /* For sources that hash what they read: does so with a block that no stage needs, as fill_block
     * would, but fills nothing in. */
    int (*hash_block)(const struct job *, const struct block *, struct error *);
    bool only_with_operands; /* without operands it is a filter (tv-extract) */
};

/* A sink consumes them. */
struct sink_functions {
    int (*consume_block)(struct job *, const struct block *, struct error *);
    bool consume_in_any_order; /* in any order of blocks, on any thread */
    /* Is tensor `index` of stage->in needed? SIZE_MAX: a tensor that was dropped before the sink.
     * Others are not computed. NULL: all are needed. */
    bool (*wants_tensor)(const struct stage *, size_t index);
    /* The source that reads the first operand (NULL: there is none) in place of standard input. */
    const struct filter *(*source_for_operand)(const char *operand, struct error *);
    /* For streams: has the reader of the output gone? */
    bool (*reader_gone)(const struct stage *);
    /* For streams: close passes on the error of a failed run, even if open was not called. */
    bool reports_failed_run;
    /* Prints on standard output while the tensors arrive: a terminal cannot show progress, too. */
    bool prints_while_running;
};

#endif
