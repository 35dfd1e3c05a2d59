/* A tensor of a checkpoint: its name, shape and dtypes, and where its elements are. It borrows what
 * the stored tensor points to that it was made from. */
#ifndef TV_CKPT_TENSOR_H
#define TV_CKPT_TENSOR_H

#include "stored_tensors.h"

struct ckpt_tensor {
    const char *name;
    enum dtype dtype;
    enum dtype file_dtype; /* of a new file with these elements */
    size_t rank;
    const uint64_t *shape;
    size_t elements;
    /* The mapped bytes: little-endian, dense, C order, at any alignment. NULL for a strided view
     * and for an encoding, whose elements only ckpt_read_elements gives. */
    const unsigned char *data;
    const struct tensor_encoding *encoding; /* NULL: stored as they are read */
};

struct ckpt_tensor ckpt_tensor_make(const struct stored_tensor *t);
/* The bytes of the file that contain n elements. */
size_t ckpt_tensor_bytes(const struct ckpt_tensor *t, size_t n);

#endif
