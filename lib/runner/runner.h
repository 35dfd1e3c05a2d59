/* Runs a chain of stages, source first, sink last, in one process. A single filter's program runs
 * the chain [standard input, filter, standard output]; `tv run` runs longer chains and outputs the
 * same bytes.
 *
 * The runner is in three parts: the chain (runner.c) opens the stages, runs all tensors, some of
 * them side by side (tensor_lanes.c), and closes the stages; tensor_run.c runs the stages on one
 * tensor; block_pass.c brings the tensor's blocks through the stages once. A stage of scope model
 * runs its rounds over all tensors first, fed by the stages before it. */
#ifndef TV_RUNNER_H
#define TV_RUNNER_H

#include "filter.h"
#include "run_report.h"

/* What a run shows and measures. */
struct run_monitor {
    bool show_progress;        /* on standard error, if that is a terminal */
    bool report_progress;      /* --progress: also if it is none, as lines */
    bool warn_of_order;        /* see step_order.h; for chains that a user has written */
    struct run_report *report; /* receives the cost of a successful run; NULL: none */
    change_counts_kind_of_tensor *kind_of_tensor; /* the report also has what the run changes */
};

/* Runs a chain of n >= 2 stages, and closes every stage that was opened. 0, or -1 with the sentence
 * and the name of the stage that failed in the error. */
int runner_run(struct stage *const *stages, size_t n, const struct run_monitor *monitor,
               struct error *e);

#endif
