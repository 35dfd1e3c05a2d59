/* Writing a file so that it appears under its name only when it is complete. A pipe, a terminal or
 * a device is written directly, and so is what a descriptor of this process refers to
 * (descriptor_path.h). Any other symbolic link is replaced and not followed. An existing file is
 * only replaced if it is empty or one that the same option wrote. SIGKILL may leave
 * .NAME.partial-XXXXXX; the next process that writes NAME removes it.
 *
 * An atomic_file is open between atomic_file_open and atomic_file_close. */
#ifndef TV_ATOMIC_FILE_H
#define TV_ATOMIC_FILE_H

#include "error.h"

#include <stdbool.h>
#include <stdio.h>

/* Is this a file that the same option wrote, and nothing else? Of a log only the beginning is
 * given, up to 4095 bytes. A zero byte follows the text. */
typedef bool atomic_file_recognizer(const char *text, size_t size);

struct atomic_file {
    const char *path;
    atomic_file_recognizer *is_own;
    char *name;      /* the last component of the path */
    char *temporary; /* its name until it is complete; NULL: it has none yet */
    int folder;      /* that contains it; -1: written directly */
    FILE *out;       /* NULL: not open */
};

/* Borrows `path` until atomic_file_close. A file of another kind at this path is an error. */
int atomic_file_open(struct atomic_file *f, const char *path, atomic_file_recognizer *is_own,
                     struct error *e);
/* If `ok`, syncs the file and renames it to its path; otherwise removes it. Does nothing if it is
 * not open. */
int atomic_file_close(struct atomic_file *f, bool ok, struct error *e);
/* Can a file be written at this path? For those that are written at the end of a run. */
int atomic_file_check(const char *path, atomic_file_recognizer *is_own, struct error *e);

/* Opens a file that is written line by line, in place. It must be no link, and belong to this user.
 * Lines are never replaced: a file that is not empty is an error, except that with `append` one
 * that the same option wrote is continued. NULL on error. */
FILE *atomic_file_open_log(const char *path, bool append, atomic_file_recognizer *is_own,
                           struct error *e);

#endif
