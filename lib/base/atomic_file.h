/* Writing a file so that it appears under its name only when it is complete. A path that is not a
 * regular file (a pipe, a terminal, /dev/null) is written directly. An atomic_file is open between
 * atomic_file_open and atomic_file_close. */
#ifndef TV_ATOMIC_FILE_H
#define TV_ATOMIC_FILE_H

#include "error.h"

#include <stdbool.h>
#include <stdio.h>

struct atomic_file {
    const char *path;
    char *temporary; /* the name until it is complete; NULL: written directly */
    FILE *out;       /* NULL: not open */
};

/* Borrows `path` until atomic_file_close. */
int atomic_file_open(struct atomic_file *f, const char *path, struct error *e);
/* If `ok`, renames the file to its path; otherwise removes it. Does nothing if it is not open. */
int atomic_file_close(struct atomic_file *f, bool ok, struct error *e);

#endif
