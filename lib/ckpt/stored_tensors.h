/* The tensors of one weight file, as the reader of its format finds them.
 *
 * A weights owns its list, names, shapes and strides until stored_tensors_free; `data` points into
 * the bytes that the reader was given. Zeroed but for `file` and `notes`, it is ready for a reader.
 */
#ifndef TV_STORED_TENSORS_H
#define TV_STORED_TENSORS_H

#include "dtype.h"
#include "error.h"
#include "mem.h"

#include <stdint.h>
#include <stdio.h>

#define STORED_TENSORS_MAX_RANK 16

struct stored_tensor {
    const char *name;
    enum dtype dtype;
    size_t rank;
    const uint64_t *shape;
    const uint64_t *stride; /* in elements; NULL: dense, C order */
    size_t elements;
    const unsigned char *data; /* element 0 */
};

struct stored_tensors {
    const char *file;            /* what sentences call it; borrowed */
    FILE *notes;                 /* for values that are no tensors; may be NULL */
    const unsigned char *header; /* the part that lists the tensors: JSON or pickle */
    size_t header_size;
    struct arena arena;
    struct stored_tensor *list;
    size_t n, room;
};

/* Checks the name (UTF-8 without NUL), the rank and the size; copies name, shape and stride; sets
 * `elements`. The caller has checked that the data lies inside the file. */
int stored_tensors_add(struct stored_tensors *w, const char *name, size_t name_length,
                       const struct stored_tensor *t, struct error *e);
void stored_tensors_free(struct stored_tensors *w);

/* Elements and bytes of a dense tensor; refuses what overflows or does not fill whole bytes. */
int stored_tensors_check_size(const char *file, const char *name, const struct stored_tensor *t,
                              size_t *elements, size_t *bytes, struct error *e);

/* One line for a person; control characters become '?'. Nothing if `notes` is NULL. */
void notes_print(FILE *notes, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* An unsigned little-endian integer of n <= 8 bytes. */
static inline uint64_t little_endian_read(const unsigned char *p, size_t n)
{
    uint64_t x = 0;
    while (n-- > 0)
        x = x << 8 | p[n];
    return x;
}

#endif
