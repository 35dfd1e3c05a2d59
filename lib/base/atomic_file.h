/* A file that is written from its beginning and appears under its name only when it is complete.
 * What is no regular file (a pipe, a terminal, /dev/null) is written in place. A written file is
 * open between atomic_file_open and atomic_file_close. */
#ifndef TV_ATOMIC_FILE_H
#define TV_ATOMIC_FILE_H

#include "error.h"

#include <stdbool.h>
#include <stdio.h>

struct atomic_file {
    const char *path;
    char *temporary; /* NULL: written in place */
    FILE *out;       /* NULL: not open */
};

/* `path` must live as long. */
int atomic_file_open(struct atomic_file *f, const char *path, struct error *e);
/* Publishes it if `ok`, else leaves nothing behind. Does nothing where none is open. */
int atomic_file_close(struct atomic_file *f, bool ok, struct error *e);

#endif
