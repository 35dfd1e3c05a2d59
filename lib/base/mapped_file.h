/* A file mapped into memory. Input that cannot be mapped (a pipe, a terminal) or is compressed
 * (byte_input.h) is first copied, decompressed, to an unlinked temporary file. A mapped_file owns
 * its bytes until mapped_file_close. */
#ifndef TV_MAPPED_FILE_H
#define TV_MAPPED_FILE_H

#include "byte_input.h"
#include "input_file.h"

#include <stdbool.h>
#include <stddef.h>

struct mapped_file {
    const unsigned char *bytes; /* NULL for an empty file */
    size_t size;
    bool is_path;                      /* a regular file, which is not standard input */
    struct input_file_version version; /* of such a file, when it was opened */
    int fd;                            /* positioned at the start; -1 after mapped_file_close */
};

/* `path` "-" is standard input; a temporary file is created in `folder` (NULL: $TMPDIR, else
 * /var/tmp). `magic`: copying stops early if the input does not begin with these bytes, so that the
 * caller can report it; NULL: everything is copied. After an error nothing is left open. */
int mapped_file_open(struct mapped_file *m, const char *path, const char *folder, const char *magic,
                     struct error *e);
/* Maps a copy of what arrives through a pipe, which messages call `title`. */
int mapped_file_open_pipe(struct mapped_file *m, struct byte_input *in, const char *title,
                          const char *folder, struct error *e);
/* "FILE changed while it was read", for a file that messages call `title`. */
int mapped_file_check_unchanged(const struct mapped_file *m, const char *title, struct error *e);
void mapped_file_close(struct mapped_file *m);
/* Why bytes could not be written that may be mapped, of an error in errno: EFAULT means that their
 * file was truncated, which raises SIGBUS where a program reads them. */
const char *mapped_file_write_error(int error_number);
/* Are single pages read next, here and there? The kernel then reads no others around them. */
void mapped_file_set_random_access(const unsigned char *bytes, size_t size, bool is_random);
/* Lets the kernel drop the pages of n bytes at `from`, in a mapped file of `size` bytes at `bytes`,
 * because they will not be read again soon. */
void mapped_file_release_pages(const unsigned char *bytes, size_t size, const unsigned char *from,
                               size_t n);
/* The same for the parts of a sequential read. Pages are dropped only at multiples of 2 MiB and
 * after the `last` part, because each drop flushes the TLBs of all threads. */
void mapped_file_release_pages_sequentially(const unsigned char *bytes, size_t size,
                                            const unsigned char *from, size_t n, bool last);

#endif
