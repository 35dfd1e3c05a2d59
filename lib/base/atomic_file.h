/* Writing a file so that it appears under its name only when it is complete. A pipe, a terminal or
 * a device (/dev/null, /dev/stdout) is written directly. A symbolic link is replaced and not
 * followed. SIGKILL may leave .NAME.partial-XXXXXX; the next process that writes NAME removes it.
 *
 * An atomic_file is open between atomic_file_open and atomic_file_close. */
#ifndef TV_ATOMIC_FILE_H
#define TV_ATOMIC_FILE_H

#include "error.h"

#include <stdbool.h>
#include <stdio.h>

struct atomic_file {
    const char *path;
    char *name;      /* the last component of the path */
    char *temporary; /* its name until it is complete; NULL: it has none yet */
    int folder;      /* that contains it; -1: written directly */
    FILE *out;       /* NULL: not open */
};

/* Borrows `path` until atomic_file_close. */
int atomic_file_open(struct atomic_file *f, const char *path, struct error *e);
/* If `ok`, syncs the file and renames it to its path; otherwise removes it. Does nothing if it is
 * not open. */
int atomic_file_close(struct atomic_file *f, bool ok, struct error *e);
/* Can a file be written at this path? For those that are written at the end of a run. */
int atomic_file_check(const char *path, struct error *e);

/* Opens a file that is written line by line, in place. It must be no link, and belong to this
 * user. NULL on error. */
FILE *atomic_file_open_log(const char *path, bool append, struct error *e);

#endif
