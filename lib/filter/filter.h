/* The descriptor of a filter, `const struct filter filter_NAME`, which each filters/NAME.c
 * provides. The runner owns what it passes to the functions; they return 0, or -1 with a sentence
 * in the error. A filter has no global variables, because several tensors, and several stages of
 * one filter, are processed at the same time.
 *
 *     #include "filter.h"
 *
 *     static int transform_block(const struct job *job, struct block *b, struct error *e)
 *     {
 *         for (size_t k = 0; k < b->n_vectors; k++)
 *             vector_math_scale(block_floats(b, k), -1, b->n);
 *         return 0;
 *     }
 *
 *     const struct filter filter_negate = {
 *         .name = "negate", .summary = "Change the sign of every element", .step = STEP_SCALE,
 *         .kinds = KIND_TASK_VECTORS, .role = ROLE_FILTER, .element_wise = true,
 *         .transform_block = transform_block};
 *
 * `make new-filter NAME=negate` writes a larger example with its man page and tests. */
#ifndef TV_FILTER_H
#define TV_FILTER_H

#include "source_sink.h"
#include "vector_math.h"

#include <stdio.h>

/* What a filter is for, in the order of a merge: tv help lists the filters by it. */
enum filter_step {
    STEP_READ = 1,
    STEP_SPARSIFY,
    STEP_WEIGH,
    STEP_RESOLVE, /* interference between the experts */
    STEP_JOIN,
    STEP_SCALE,
    STEP_WRITE,
    STEP_STREAMS,
    STEP_LOOK,
    STEP_MEASURE
};

enum role { ROLE_SOURCE, ROLE_FILTER, ROLE_SINK };

/* How much a filter must see before it can write. A row is never split between blocks for
 * SCOPE_ROW: a row that is longer than a block of the stream is a block of its own. */
enum scope { SCOPE_BLOCK, SCOPE_ROW, SCOPE_TENSOR, SCOPE_MODEL };

/* What `begin_tensor` asks for. */
enum plan {
    PLAN_TRANSFORM,    /* transform the blocks without observing them */
    PLAN_OBSERVE,      /* observe all blocks first, in one round or more */
    PLAN_PASS_THROUGH, /* leave the payload unchanged */
    PLAN_REDUCE        /* sinks: observe and accumulate blocks instead of consuming them */
};

/* What `end_round` says after a round. */
enum verdict { VERDICT_DONE, VERDICT_AGAIN };

struct filter {
    const char *name;    /* "trim" */
    const char *summary; /* one line for --help: imperative, no full stop */
    enum filter_step step;
    const char *operands;             /* "BASE EXPERT..." for --help; NULL: none */
    const char *notes;                /* more for --help: formula, example; NULL: none */
    const struct option_row *options; /* ends with a row without a name; NULL: none */
    size_t options_size;              /* of the struct that the rows refer to */
    size_t min_operands, max_operands;
    const struct option_row *operand_row; /* operands that are rules: of kind RULES or SELECTORS */
    int kinds; /* of streams that it accepts: KIND_... or-ed; 0 for a source */
    enum role role;
    enum scope scope;
    bool element_wise; /* has --include and --exclude; non-floating tensors pass through */

    /* In the order of the calls. Once: checks options and operands, before anything is read; -1 is
     * a usage error. */
    int (*check_options)(const struct stage *, struct error *);
    /* Once: checks the header; may change the manifest; no other function may.
     * header->tensors[i].input_index is i on entry; header_keep_tensors drops. */
    int (*open)(struct stage *, struct header *, struct error *);
    enum scope (*choose_scope)(const struct stage *); /* by the options; NULL: `scope` */
    /* For each tensor: sets job->state; returns an enum plan, or -1. */
    int (*begin_tensor)(struct job *, struct error *);
    /* In a round: measures a block into its own work area, on any thread, ... */
    int (*observe_block)(const struct job *, const struct block *, void *work, struct error *);
    /* ... and adds it to the state, in order of the blocks. The payload is gone: b->data is not
     * valid here, so what is needed must be in `work`. */
    int (*accumulate_block)(struct job *, const struct block *, void *work, struct error *);
    /* After a round, and after a begin that asked for none: returns an enum verdict, or -1. With
     * SCOPE_MODEL once per round, after its last tensor, with job->in NULL. */
    int (*end_round)(struct job *, struct error *);
    int (*transform_block)(const struct job *, struct block *, struct error *);
    /* After the last block: frees what is not in job->arena, prints. `ok` is false if the run
     * failed or the tensor was read for a later stage's round only. */
    int (*end_tensor)(struct job *, bool ok, struct error *);
    /* Once, whenever open was called: frees stage->data; publishes if `ok`. Sources close first. */
    int (*close)(struct stage *, bool ok, struct error *);

    /* Only some. */
    struct source_functions source;
    struct sink_functions sink;
    /* Bytes that a tensor takes while end_round works on it, if that takes long: `tv run` then
     * works on several tensors side by side, as many as fit into --memory, and does not compute
     * them again for a stage behind it that reads all tensors more than once. */
    uint64_t (*tensor_memory)(const struct stage *, const struct tensor *);
    /* Does it look at the operands of the chain's source, so that it must be in one chain with it?
     * NULL: no. */
    bool (*looks_at_source)(const struct stage *);
    bool only_drops_elements; /* transform_block leaves an element unchanged or sets it to 0 */
    bool across_vectors;      /* compares the vectors of a tensor: useless where there is one */
    bool raw_payload;         /* payload in the stream's dtype, not converted to F32; only read */
    bool accepts_nonfinite;   /* NaN and infinity are never an error */
    bool no_history_step;     /* adds no step to the history */
    bool operand_is_output;   /* the operand is what it writes */
    bool operands_are_files;  /* the history has recorded_operands instead of operands */
    int failure_status;       /* exit status of a failed run; 0: 1 */
    const struct filter *(*filter_for_process)(void); /* what this process runs instead */
};

#endif
