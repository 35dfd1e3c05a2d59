/* Runs a chain of stages, source first, sink last, in one process. A program of its own is the
 * chain [standard input, filter, standard output]; `tv run` is a longer one. The bytes that come
 * out are the same.
 *
 * For every tensor, stage after stage: begin; where it asks to observe, rounds of observe (any
 * thread), merge (block order) and decide; then the next stage begins. When all have decided, the
 * blocks pass through all transforms into the sink. What is looked at more than once comes again
 * from the source where that can go back, and is held (in memory up to a limit, then in a
 * temporary file) where it cannot. A stage with scope model has its rounds over all tensors first,
 * with the stages before it at work. */
#ifndef TV_RUNNER_H
#define TV_RUNNER_H

#include "run_report.h"
#include "filter.h"

/* Who watches a run. */
struct run_monitor {
    bool show_progress;        /* show it on standard error if that is a terminal */
    struct run_report *report; /* gets what a run cost that ended well; NULL: nobody asks */
};

/* Runs the chain. 0, or -1 with the sentence and the failed stage's name in the error; every
 * stage is closed either way. */
int runner_run(struct stage *const *stages, size_t n, const struct run_monitor *watch,
               struct error *e);

/* The two ends of a chain that reads and writes streams. */
extern const struct filter stdio_stages_reader; /* operand: none (standard input) or a file */
extern const struct filter stdio_stages_writer; /* standard output */
/* As in reader.h, for an open stdio_stages_reader. */
int stdio_stages_make_stoppable(struct stage *s);
void stdio_stages_stop_reading(struct stage *s);
/* A source_for_operand for a sink that reads no stream. */
const struct filter *stdio_stages_empty_source(const char *operand, struct error *e);

#endif
