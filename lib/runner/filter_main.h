/* The programs of filters: one filter, or a chain of them in one process, between standard input
 * and standard output. */
#ifndef TV_FILTER_MAIN_H
#define TV_FILTER_MAIN_H

#include "runner.h"

/* The main function of a filter's program: parses the command line, runs the filter, and prints
 * `NAME: sentence` if it fails. Returns the exit status. */
int filter_main(const struct filter *f, int argc, char **argv);

/* Runs n stages as one chain, which reads standard input unless the first stage is a source and
 * writes standard output unless the last is a sink. Prints the error and returns the exit status as
 * filter_main does. Frees the stages. */
int filter_main_run_chain(struct stage **stages, size_t n, const struct run_monitor *monitor);

/* Makes `fd`, a stream that nobody has started, one that ends with an error record, so that the
 * program which reads it adds no sentence to the one that was printed; not if it is a terminal.
 * Allocates no memory. */
void filter_main_write_error_record(int fd, const char *stage, const char *sentence);
/* From here until a chain runs, such an error record is written if the process ends by fatal_exit
 * or by exit, because the command line of `f` or of a stage before it is wrong; not if `f` writes
 * no stream. NULL: it is not written. */
void filter_main_set_parsed(const struct filter *f);
/* Makes truncated input and the limit of a file's size errors with a sentence. The two functions
 * above do it. */
void filter_main_set_signals(void);

/* Is the stage a source, so that it starts a chain? A filter that is a source only if it has
 * operands (tv-extract) counts by those. */
bool filter_main_starts_chain(const struct stage *s);
/* Is it a sink, so that it ends a chain? */
bool filter_main_ends_chain(const struct stage *s);

#endif
