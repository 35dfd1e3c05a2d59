/* Runs a line of commands as the shell would: neighbours among our filters become one chain in one
 * process; any other command, and each <( ... ), becomes a process between pipes. */
#ifndef TV_PIPELINE_RUN_H
#define TV_PIPELINE_RUN_H

#include "filter.h"
#include "pipeline.h"
#include "runner.h"

struct pipeline_options {
    const struct filter *const *filters; /* those that are run in one process, ended by NULL */
    uint64_t threads;                    /* for stages that were not told; 0: all processors */
    uint64_t memory;                     /* for all stages; 0: what they say */
    const char *spool;                   /* for all stages; NULL: what they say */
    struct run_monitor monitor;
};

/* The filter of that name, also without its "tv-"; NULL. */
const struct filter *pipeline_run_find_filter(const struct pipeline_options *r, const char *name);
/* The exit status; says itself what went wrong. */
int pipeline_run(const struct pipeline_options *r, const struct pipeline *l, struct arena *a);

/* Around lines that are run: the account of a run that ended well (status 0) goes into `file`,
 * unless that is NULL. Both return the exit status. */
int pipeline_run_start_report(struct pipeline_options *r, const char *file);
int pipeline_run_end_report(struct pipeline_options *r, const char *file, int status);

#endif
