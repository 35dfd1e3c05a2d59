/* A file that is written from its beginning and appears under its name only when it is complete.
 * What is no regular file (a pipe, a terminal, /dev/null) is written in place. A written file is
 * open between written_open and written_close. */
#ifndef TV_WRITTEN_H
#define TV_WRITTEN_H

#include "error.h"

#include <stdbool.h>
#include <stdio.h>

struct written {
    const char *path;
    char *temporary; /* NULL: written in place */
    FILE *out;       /* NULL: not open */
};

/* `path` must live as long. */
int written_open(struct written *f, const char *path, struct error *e);
/* Publishes it if `ok`, else leaves nothing behind. Does nothing where none is open. */
int written_close(struct written *f, bool ok, struct error *e);

#endif
