/* The scripts in pipelines/: one per published method, and some that plot. Each begins with
 *
 *     #!/usr/bin/env bash
 *     # ties: trim each task vector, elect signs, average the values that agree
 */
#ifndef TV_PIPELINE_SCRIPTS_H
#define TV_PIPELINE_SCRIPTS_H

#include "mem.h"

struct pipeline_script {
    const char *name, *summary, *path;
};

/* Lists the scripts by name, in the arena; how many. None if they are not installed next to tv. */
size_t pipeline_scripts_list(struct pipeline_script **scripts, struct arena *a);

#endif
