/* The report of a run, for `--report`: time, bytes and memory, by chain and by stage, as JSON. A
 * report lies in memory that is shared with the processes forked after run_report_new, so chains
 * that run in several processes add to the same report. It belongs to the caller until
 * run_report_free. */
#ifndef TV_RUN_REPORT_H
#define TV_RUN_REPORT_H

#include "change_counts.h"
#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct run_report;

struct run_report_stage {
    const char *name;
    double seconds; /* inside its functions, summed over threads */
    uint64_t bytes; /* of payload that it received; of a source: that it delivered */
    struct dropped_elements dropped; /* zeroed unless they were counted */
};

/* A chain of stages that ran in one process. */
struct run_report_chain {
    uint64_t threads, bytes_read, bytes_written, peak_resident, peak_anonymous;
    double seconds; /* from start to end */
    size_t n_stages;
    const struct run_report_stage *stages;
    struct change_norm changes[CHANGE_COUNTS_KINDS]; /* zeroed unless they were counted */
};

#define RUN_REPORT_STAGES_MAX 32 /* of a chain that are kept */

/* Starts the clock of the whole run. NULL if there is no memory for it (errno). */
struct run_report *run_report_new(void);
void run_report_free(struct run_report *r);
/* Adds a chain that has succeeded. Only the first 256 chains and the first RUN_REPORT_STAGES_MAX
 * stages of each are kept; the report has the number of all chains. */
void run_report_add_chain(struct run_report *r, const struct run_report_chain *chain);
/* Of the whole run so far: `seconds` since its start, the sums of bytes, the largest peaks. */
struct run_report_chain run_report_sum_chains(const struct run_report *r);
/* How many chains were added. */
size_t run_report_count_chains(const struct run_report *r);
/* Copies chain i and its stages; false if it was not kept. */
bool run_report_get_chain(const struct run_report *r, size_t i, struct run_report_chain *chain,
                          struct run_report_stage stages[RUN_REPORT_STAGES_MAX]);
/* Is it a complete report? An atomic_file_recognizer. */
bool run_report_is_report(const char *text, size_t size);
/* Writes the report to `path`, which is replaced only when the report is complete. */
int run_report_write_json(const struct run_report *r, const char *path, struct error *e);

#endif
