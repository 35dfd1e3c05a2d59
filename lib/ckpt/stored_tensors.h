/* The tensors of one weight file: where their elements are stored, dense, as strided views or
 * encoded (tensor_encoding.h). The readers of the formats fill in the list.
 *
 * A stored_tensors owns its list, names, shapes and strides until stored_tensors_free; `data`
 * points into the bytes of the file. Zeroed except for `file`, `model`, `key` and `notes` it is
 * ready for use. */
#ifndef TV_STORED_TENSORS_H
#define TV_STORED_TENSORS_H

#include "dtype.h"
#include "error.h"
#include "mem.h"
#include "tensor_encoding.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define STORED_TENSORS_MAX_RANK 16

struct stored_tensor {
    const char *name;
    enum dtype dtype; /* of the elements that are read */
    size_t rank;
    const uint64_t *shape;
    const uint64_t *stride; /* in elements; NULL: dense, C order */
    size_t elements;
    /* Element 0, or the first encoded block; NULL: it is in a pipe. */
    const unsigned char *data;
    uint64_t offset;                        /* of element 0 in the data of a safetensors file */
    const struct tensor_encoding *encoding; /* NULL: the bytes are the elements */
};

struct stored_tensors {
    const char *file;            /* the file's name in messages; borrowed */
    const char *model;           /* its model as the user named it, in messages; borrowed */
    const char *key;             /* of the dict in a torch file (state_dict.h); NULL: not given */
    FILE *notes;                 /* notes.h; may be NULL */
    const unsigned char *header; /* the bytes that list the tensors: JSON or a pickle */
    size_t header_size;
    bool has_other_contents; /* a torch file: values that are no tensors, bytes behind the last */
    struct arena arena;
    struct stored_tensor *list;
    size_t n, capacity;
};

/* Checks the name (UTF-8 without NUL), the rank and the size; copies name, shape and stride; sets
 * `elements`. The caller has checked that the data are inside the file. */
int stored_tensors_add(struct stored_tensors *s, const char *name, size_t name_length,
                       const struct stored_tensor *t, struct error *e);
void stored_tensors_free(struct stored_tensors *s);

/* Elements and bytes of a dense tensor. An overflow, or a size that is not a whole number of bytes,
 * is an error. */
int stored_tensors_check_size(const char *file, const char *name, const struct stored_tensor *t,
                              size_t *elements, size_t *bytes, struct error *e);

/* Copies n elements from flat index `first` on; views are gathered, encodings decoded
 * (`to` is aligned for the dtype). */
void stored_tensors_copy_elements(const struct stored_tensor *t, size_t first, size_t n, void *to);
/* The bytes of the file that contain these elements; for a view, from its first element to its
 * last; for an encoding, whole blocks, and whole heads where rows are interleaved. */
const unsigned char *stored_tensors_byte_range(const struct stored_tensor *t, size_t first,
                                               size_t n, size_t *size);

#endif
