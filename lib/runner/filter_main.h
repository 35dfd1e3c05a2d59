/* Stages as programs: between standard input and output, alone or as a chain in one process. */
#ifndef TV_FILTER_MAIN_H
#define TV_FILTER_MAIN_H

#include "runner.h"

/* The whole of a filter's program: parses, runs the filter between standard input and output,
 * prints `NAME: sentence` on failure. Returns the exit status. */
int filter_main(const struct filter *f, int argc, char **argv);

/* Runs stages as one chain, reading standard input where the first is no source and writing
 * standard output where the last is no sink. Prints and returns as filter_main does, and frees
 * the stages. */
int filter_main_run_chain(struct stage **stages, size_t n, const struct run_monitor *watch);

/* Is the stage one that starts a chain, or ends it? */
bool stage_starts_chain(const struct stage *s);
bool stage_ends_chain(const struct stage *s);

#endif
