/* What the functions of a filter are given: the stage (one filter of a pipeline, with its options)
 * and the job (one tensor in that stage). Both belong to the runner; a filter keeps its own data in
 * stage->data for the whole run and in job->state for one tensor. */
#ifndef TV_JOB_H
#define TV_JOB_H

#include "header.h"
#include "option_row.h"

/* The options of every filter. */
struct common_options {
    uint64_t threads;  /* 0: the default (1 in a pipe, one per CPU in tv run) */
    uint64_t memory;   /* bytes of a tensor held in memory before they go to a temporary file */
    const char *spool; /* folder of temporary files; NULL: the default */
    bool allow_nonfinite;
    struct string_list include, exclude; /* element-wise filters: globs of tensor names */
};

struct stage {
    const struct filter *filter;
    const char *name; /* in messages: the filter's, or, for the reader and the writer at the ends of
                         a pipe, that of the stage beside them */
    struct common_options common;
    void *options; /* the filter's struct of options */
    bool *given;   /* [option row, in the order of stage_list_options]: set by the user? */
    struct string_list operands;
    struct string_list recorded_operands; /* what the history has instead of operands, if those are
                                             files */
    size_t n_parents;                   /* sources that read streams, set in open: the histories */
    struct history *parents;            /* of those streams, for this stage's step */
    const struct header *in, *out;      /* before and after open; `in` is NULL for a source */
    void *data;                         /* the filter's own, for the whole run */
    bool in_model_rounds;               /* SCOPE_MODEL: its rounds are not finished */
    int exit_status;                    /* of a run without errors: tv-diff, check */
    bool stop_after_open;               /* sinks, set in open: no payload is needed */
    bool lacks_checksums;               /* sources: some payload came without a checksum */
    uint64_t bytes_read, bytes_written; /* of files that the stage opened itself */
    struct runner *runner;
    struct arena arena; /* of options and operands */
};

struct job {
    struct stage *stage;
    size_t index;            /* position in the manifest of stage->in (sources: of stage->out) */
    const struct tensor *in; /* as it arrives, with weights; NULL for a source */
    struct tensor *out;      /* as it leaves: structure from stage->out, weights and attributes from
                                `in`; begin and decide may change the latter */
    struct arena *arena; /* zeroed memory for `state` and for what `out` points to, freed with the
                            tensor. Not for observe, fill, transform and consume, which run in
                            parallel */
    void *state;         /* the filter's own, for this tensor */
    size_t work_size;    /* bytes of the work area for observe; set in begin and decide */
    size_t sample_elements; /* the next round needs only so many elements of each block, rounded up
                               to whole rows, and may get more; 0: all. Set in begin and decide */
};

#endif
