/* Reads bytes sequentially from a descriptor, decompressed. Input that is compressed with zstd,
 * gzip or xz is recognized by its first bytes and decompressed with libarchive.
 *
 * A byte_input owns what it points to until byte_input_close, but not the descriptor. */
#ifndef TV_BYTE_INPUT_H
#define TV_BYTE_INPUT_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define BYTE_INPUT_PEEK ((size_t)512) /* bytes that can be looked at before they are read */

struct byte_input;

/* Do these bytes begin a file that is compressed with zstd, gzip or xz? */
bool byte_input_is_compressed(const unsigned char *bytes, size_t n);
/* Reads the first bytes. `what` names the input in messages. `before`: n bytes that
 * were already read from the descriptor. NULL on error. */
struct byte_input *byte_input_open(int fd, const char *what, const void *before, size_t n,
                                   struct error *e);
void byte_input_close(struct byte_input *in);
/* The first bytes, decompressed: BYTE_INPUT_PEEK, or fewer if there are no more. They can be looked
 * at as long as no other bytes were read. */
const unsigned char *byte_input_peek(const struct byte_input *in, size_t *n);
/* Reads up to `size` bytes, decompressed: how many; 0 at the end, -1 on error. */
ssize_t byte_input_read(struct byte_input *in, void *to, size_t size, struct error *e);
/* Reads `size` bytes unless the input ends before; returns how many, or -1. `to` may be NULL: the
 * bytes are dropped. */
long long byte_input_read_fully(struct byte_input *in, void *to, unsigned long long size,
                                struct error *e);
/* Writes all bytes that have not been read to the file `fd`, from its start. */
int byte_input_copy_to_file(struct byte_input *in, int fd, struct error *e);

#endif
