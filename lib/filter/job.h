/* The arguments of a filter's functions: the stage (one filter of a pipeline, with its options) and
 * the job (one tensor in that stage). Both belong to the runner; a filter keeps its own data in
 * stage->data for the whole run and in job->state for one tensor. */
#ifndef TV_JOB_H
#define TV_JOB_H

#include "header.h"
#include "option_row.h"

/* The options of every filter. */
struct common_options {
    uint64_t threads;  /* 0: the default (1 in a pipe, one per CPU in tv run) */
    uint64_t memory;   /* bytes of a tensor held in memory; a larger one is in a temporary file */
    const char *spool; /* folder of temporary files; NULL: the default */
    bool progress;     /* print lines for a script */
    bool quiet, allow_nonfinite;
    struct string_list include, exclude; /* element-wise filters: globs of tensor names */
};

/* One filter of a pipeline. */
struct stage {
    const struct filter *filter;
    /* In messages: the filter's name, or, for the reader and the writer at the ends of a pipe, that
     * of the neighboring stage. */
    const char *name;
    struct common_options common;
    void *options; /* the filter's struct of options */
    bool *given;   /* set by the user? In the order of stage_list_options */
    struct string_list operands;
    struct string_list recorded_options, recorded_operands; /* in the history instead of files */
    /* For the history, set in open: the fingerprints of the models that were opened. */
    size_t n_fingerprints, fingerprint_capacity;
    uint64_t *fingerprints;
    const char *blas; /* for the history, set in open: openblas_description; NULL: none */
    const struct header *in, *out; /* before and after open; `in` is NULL for a source */
    void *data;                    /* the filter's own, for the whole run */
    bool in_model_rounds;          /* SCOPE_MODEL: its rounds are not finished */
    int exit_status;               /* of a run without errors: tv-diff, check */
    bool stop_after_open;          /* sinks, set in open: no payload is needed */
    bool lacks_checksums;          /* sources: some payload came without a checksum */
    /* Sources that read streams, set in open: their histories, for this stage's step. Those that
     * read models have an empty history for each checkpoint, or no parents at all. */
    size_t n_parents;
    struct history *parents;
    uint64_t bytes_read, bytes_written; /* of files that the stage opened itself */
    struct runner *runner;
    struct arena arena; /* of options and operands */
};

/* One tensor in a stage. */
struct job {
    struct stage *stage;
    size_t index;            /* position in the manifest of stage->in (sources: of stage->out) */
    const struct tensor *in; /* as it arrives, with weights; NULL for a source */
    /* As it leaves: structure from stage->out, weights and attributes from `in`, which begin and
     * decide may change. */
    struct tensor *out;
    /* Zeroed memory for `state` and for what `out` points to, freed with the tensor. Not for
     * observe, fill, transform and consume, which run in parallel. */
    struct arena *arena;
    void *state;           /* the filter's own, for this tensor */
    size_t block_elements; /* of the largest block; not for sources */
    /* Set in begin and decide, for the next round: bytes of the work area of observe; and how many
     * elements of each block it needs, rounded up to whole rows (it may get more; 0: all). */
    size_t work_size, sample_elements;
};

#endif
