/* The safetensors file that a pipeline writes to standard output, without a name: in memory, or in
 * an unlinked temporary file. It ends with the process.
 *
 * A pipeline_result is open between pipeline_result_compute and pipeline_result_close. */
#ifndef TV_PIPELINE_RESULT_H
#define TV_PIPELINE_RESULT_H

#include "pipeline_run.h"

struct pipeline_result {
    int fd;
    char path[32]; /* "/dev/fd/7" */
};

struct pipeline_result_options {
    const char *tool; /* for messages */
    bool in_memory;   /* else in a temporary file in the folder `spool`, which may be NULL */
    const char *spool;
    bool is_repeated; /* the same stages have run: what they print is shown only if they fail */
};

/* Runs the pipeline in a child process, which reads no standard input. Prints errors itself;
 * returns the exit status. Not while other threads are at work. */
int pipeline_result_compute(struct pipeline_result *r, const struct pipeline_result_options *o,
                            const struct pipeline_options *run, const struct pipeline *pipeline,
                            struct arena *a);
void pipeline_result_close(struct pipeline_result *r);

#endif
