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
/* The same; the account of a run that ended well goes into the file `report`, unless it is NULL. */
int run_and_report(const struct run *r, const struct line *l, const char *report, struct arena *a);

#endif
