/* What a run cost, for `--report`: time, bytes and memory, chain by chain and stage by stage. An
 * account lies in memory that is shared with the processes forked after run_report_new, so that
 * chains that run beside one another write into one; it is the caller's until run_report_free. */
#ifndef TV_RUN_REPORT_H
#define TV_RUN_REPORT_H

#include "error.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct run_report;

/* What one stage has cost so far; written by several threads at once. */
struct stage_cost {
    _Atomic uint64_t nanoseconds; /* inside its functions, summed over threads */
    _Atomic uint64_t bytes;       /* that it was given; a source: that it gave */
};

struct run_report_stage {
    const char *name;
    double seconds;
    uint64_t bytes;
};

struct run_report_chain {
    uint64_t threads, bytes_read, bytes_written, peak_resident, peak_anonymous;
    double seconds;
    size_t n;
    const struct run_report_stage *stages;
};

/* Nanoseconds since some time in the past. */
uint64_t process_stats_clock_ns(void);
/* Bytes of this process that are in memory and of no file now. */
uint64_t process_stats_anonymous_bytes(void);
/* The most bytes of this process that were in memory at once. */
uint64_t process_stats_peak_resident_bytes(void);

/* The clock starts. */
struct run_report *run_report_new(void);
void run_report_free(struct run_report *a);
/* A chain that has ended well; beyond some hundreds they are not kept, and the report says so. */
void run_report_add_chain(struct run_report *a, const struct run_report_chain *chain);
/* JSON, at `path` when it is complete or not at all. */
int run_report_write_json(const struct run_report *a, const char *path, struct error *e);

#endif
