/* The folder of golden data: $GOLDEN, or tests/golden of the repository with the build, which is
 * also the folder of data that is only there. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char golden[4096], repository_golden[4096];

/* `program`: argv[0], which is ROOT/BUILD/unit/NAME. */
static inline void golden_find(const char *program)
{
    snprintf(repository_golden, sizeof repository_golden, "%.*s/../../tests/golden",
             (int)(strrchr(program, '/') - program), program);
    snprintf(golden, sizeof golden, "%s", getenv("GOLDEN") ? getenv("GOLDEN") : repository_golden);
}

/* The path of a file in a folder, valid until the next call. */
static inline const char *golden_file(const char *folder, const char *name)
{
    static char path[5000];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

#endif
