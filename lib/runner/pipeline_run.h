/* Runs a pipeline as the shell would. Neighboring commands that are our filters become one chain
 * in one process; any other command, and each <( ... ), runs as a separate process, connected by
 * pipes. */
#ifndef TV_PIPELINE_RUN_H
#define TV_PIPELINE_RUN_H

#include "filter.h"
#include "pipeline.h"
#include "runner.h"

struct pipeline_options {
    const struct filter *const *filters; /* our filters, ended by NULL */
    uint64_t threads;                    /* of stages without --threads; 0: one per CPU */
    uint64_t memory;                     /* of all stages; 0: their own --memory */
    const char *spool;                   /* of all stages; NULL: their own --spool */
    bool only_filters;                   /* a command that is no filter is an error */
    const char *report;                  /* file for the report; NULL: none */
    bool reports_in_memory;              /* the monitor's report is needed without a file */
    struct run_monitor monitor;
};

/* The filter of that name, which may leave out "tv-"; NULL if there is none. */
const struct filter *pipeline_run_find_filter(const struct pipeline_options *o, const char *name);
/* Runs the pipeline and waits for all its processes. Prints errors itself; returns the exit status.
 */
int pipeline_run(const struct pipeline_options *o, const struct pipeline *pipeline,
                 struct arena *a);

/* Call these before and after running pipelines: they write the report to `file` if the exit status
 * is 0, and no report if `file` is NULL. Both return the exit status. */
int pipeline_run_start_report(struct pipeline_options *o, const char *file);
int pipeline_run_end_report(struct pipeline_options *o, int status);

#endif
