/* Files that are read: whether they exist, and whether they changed while they were read. */
#ifndef TV_INPUT_FILE_H
#define TV_INPUT_FILE_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

/* Which file it is and when it was last changed. */
struct input_file_version {
    dev_t device;
    ino_t inode;
    uint64_t size;
    struct timespec modified, changed; /* its contents; its contents or its attributes */
};

/* 1: there is a file, folder or link of that name, readable or not; 0: there is none; -1: error,
 * such as a folder that must not be searched. */
int input_file_exists(const char *path, struct error *e);

struct input_file_version input_file_version(const struct stat *st);
/* "FILE changed while it was read" if the file at `path`, which messages call `title`, is another
 * one than before or was written meanwhile. */
int input_file_check_unchanged(const char *path, const char *title,
                               const struct input_file_version *before, struct error *e);
/* The same for an open file. */
int input_file_check_unchanged_fd(int fd, const char *title,
                                  const struct input_file_version *before, struct error *e);

#endif
