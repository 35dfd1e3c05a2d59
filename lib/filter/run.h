/* Runs a line of commands as the shell would: neighbours among our filters become one chain in one
 * process; any other command, and each <( ... ), becomes a process between pipes. */
#ifndef TV_RUN_H
#define TV_RUN_H

#include "filter.h"
#include "line.h"
#include "runner.h"

struct run {
    const struct filter *const *filters; /* those that are run in one process, ended by NULL */
    uint64_t threads;                    /* for stages that were not told; 0: all processors */
    uint64_t memory;                     /* for all stages; 0: what they say */
    const char *spool;                   /* for all stages; NULL: what they say */
    struct watch watch;
};

/* The filter of that name, also without its "tv-"; NULL. */
const struct filter *run_find_filter(const struct run *r, const char *name);
/* The exit status; says itself what went wrong. */
int run_line(const struct run *r, const struct line *l, struct arena *a);

/* Around lines that are run: the account of a run that ended well (status 0) goes into `file`,
 * unless that is NULL. Both return the exit status. */
int run_start_report(struct run *r, const char *file);
int run_end_report(struct run *r, const char *file, int status);

#endif
