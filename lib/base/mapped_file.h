/* A file as bytes in memory. What cannot be mapped (a pipe, a terminal) is copied to an unlinked
 * temporary file first. A mapped owns its bytes until mapped_file_close. */
#ifndef TV_MAPPED_FILE_H
#define TV_MAPPED_FILE_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>

struct mapped_file {
    const unsigned char *bytes; /* NULL for an empty file */
    size_t size;
    int fd; /* at its start; -1 after mapped_file_close */
};

/* `path` "-" is standard input; a temporary file goes to `folder` (NULL: $TMPDIR, else /var/tmp).
 * `begins`: the bytes with which it must begin to be copied as a whole; NULL: anything is. Returns
 * 0; or -1, with nothing left open. */
int mapped_file_open(struct mapped_file *m, const char *path, const char *folder,
                     const char *begins, struct error *e);
void mapped_file_close(struct mapped_file *m);
/* Of a mapped file of `size` bytes: these n, from `from` on, will not be read again soon; their
 * pages need not stay in memory. */
void mapped_file_release_pages(const unsigned char *bytes, size_t size, const unsigned char *from,
                               size_t n);
/* The same of a part of what is read one after another; now and then, and behind the `last`, the
 * pages go. (Each time they do, all threads must forget their addresses.) */
void mapped_file_release_sequential(const unsigned char *bytes, size_t size,
                                    const unsigned char *from, size_t n, bool last);

#endif
