/* A tensor of a stream: its name and shape, one vector per model with dtype and weights, and the
 * blocks into which its payload is divided. What a tensor points to lives in the arena that it was
 * copied into, or in that of its header. */
#ifndef TV_TENSOR_H
#define TV_TENSOR_H

#include "dtype.h"
#include "error.h"
#include "mem.h"

#include <math.h>
#include <stdint.h>

#define TENSOR_RANK_MAX   16
#define JOINED_LEVELS_MAX 8 /* of joins of joins; a join drops earlier ones */

/* `n` key-value pairs that this version does not define, as encoded bytes, to be passed on. */
struct unknown_keys {
    size_t n, size;
    const unsigned char *bytes;
};

/* A vector that a join merged, with the weights that the join applied to it. */
struct joined_vector {
    const char *name; /* of its model */
    size_t n_weights; /* as in struct vector */
    const double *weights;
    size_t n_joined; /* 0: it was not the output of a join, or all weights there were 1 */
    struct joined_vector *joined;
    struct unknown_keys unknown_keys;
};

/* The elements of one model in one tensor. */
struct vector {
    size_t model;            /* index into header.models */
    const char *source;      /* the tensor's name in that model; NULL: none (after a join) */
    enum dtype dtype;        /* of the payload in the stream */
    enum dtype stored_dtype; /* in the model's file; DTYPE_NONE: unknown */
    /* The following are in the tensor header, not in the manifest. */
    size_t n_weights; /* 1, or m for m contiguous chunks of ceil(n/m) elements */
    const double *weights;
    size_t n_joined; /* the vectors that a join merged into this one; 0: none had another weight
                        than 1 */
    const struct joined_vector *joined;
    double l1_before;        /* L1 norm before elements were dropped; NAN: unknown */
    double l1;               /* L1 norm of the payload; NAN: unknown */
    double keep_probability; /* with which each element was kept; NAN: unknown */
    struct unknown_keys unknown_payload_keys; /* dropped when the payload changes */
    struct unknown_keys unknown_keys;
};

struct tensor {
    const char *name;      /* in the output */
    const char *base_name; /* in the base model (task vectors); NULL: same as name */
    size_t rank;
    const uint64_t *shape;
    long layer, layers; /* index of the layer, layers in its slice; -1 outside the layers */
    size_t n_vectors;
    struct vector *vectors;
    size_t input_index; /* index in the manifest before the stage's open; set by the runner */
    struct unknown_keys unknown_keys;
};

struct unknown_keys unknown_keys_copy(struct arena *a, struct unknown_keys x);
struct tensor tensor_copy(struct arena *a, const struct tensor *from);
/* Copies what a join merged; of joins of joins at most `levels` levels. */
struct joined_vector *joined_vectors_copy(struct arena *a, size_t n,
                                          const struct joined_vector *from, size_t levels);

/* Number of elements; 1 for a scalar. It cannot overflow, because the shapes of a header are
 * checked. */
size_t tensor_elements(const struct tensor *t);
/* Elements of a row: the last dimension; 1 for a scalar. */
size_t tensor_columns(const struct tensor *t);
/* "(300, 64)", in the arena. */
const char *tensor_format_shape(struct arena *a, size_t rank, const uint64_t *shape);
/* Checks rank, dimensions and number of bytes (8 per element) against the format's limits. */
int tensor_check_shape(const char *name, size_t rank, const uint64_t *shape, struct error *e);
bool tensor_same_shape(const struct tensor *a, const struct tensor *b);
/* True if every vector has a floating dtype. */
bool tensor_is_float(const struct tensor *t);

/* Blocks depend only on the shape (share/stream.md, "Blocks"). */
size_t tensor_block_elements(const struct tensor *t); /* elements of a full block */
size_t tensor_block_count(const struct tensor *t);
/* First element and number of elements of block `index`. */
void tensor_block_range(const struct tensor *t, size_t index, size_t *first, size_t *n);

/* Index of the block that contains the element with this flat index. */
size_t tensor_block_containing(const struct tensor *t, size_t element);

/* A vector with weight 1 and no payload attributes; borrows `source`. */
struct vector vector_with_defaults(size_t model, const char *source, enum dtype dtype,
                                   enum dtype stored_dtype);
/* Sets these payload attributes after a change to the payload (NaN: unknown) and drops the others.
 */
void vector_set_attributes(struct vector *v, double l1_before, double keep_probability);
/* Copies n weights into the arena. */
void vector_set_weights(struct vector *v, struct arena *a, size_t n, const double *weights);
/* True if the tensor can be split into m chunks of ceil(n/m) elements, none of them empty. */
bool tensor_can_split_into_chunks(const struct tensor *t, size_t m);
/* The weights w[K] of all vectors at flat index `first`. Returns for how many elements, at most n,
 * they are valid. */
size_t tensor_find_weights_at(const struct tensor *t, size_t first, size_t n, double *w);
/* True if some weight is not 1. */
bool vector_is_weighted(const struct vector *v);

#endif
