/* A position in the header of a GGUF file, from which integers and strings are read. Every length
 * is compared with the bytes that are left before it is used. All integers are little-endian. A
 * gguf_cursor borrows the bytes. */
#ifndef TV_GGUF_CURSOR_H
#define TV_GGUF_CURSOR_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>

struct gguf_cursor {
    const char *file; /* in messages; borrowed */
    const unsigned char *bytes;
    size_t size, position;
};

/* Skips n bytes, which `what` names in a message. NULL if fewer are left. */
const unsigned char *gguf_cursor_take(struct gguf_cursor *c, uint64_t n, const char *what,
                                      struct error *e);
/* Reads an integer of `size` bytes. */
int gguf_cursor_read(struct gguf_cursor *c, size_t size, const char *what, uint64_t *x,
                     struct error *e);
/* Reads a string: eight bytes of length, then its bytes, which are not terminated and need not be
 * UTF-8. NULL on error. */
const char *gguf_cursor_read_string(struct gguf_cursor *c, const char *what, size_t *length,
                                    struct error *e);

#endif
