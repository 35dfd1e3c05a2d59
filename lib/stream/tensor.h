/* A tensor of a stream: one name and shape, a vector of numbers per model; its weights, and the
 * blocks in which it travels. What a tensor points to lives in the arena that it was copied into,
 * or in its header's. */
#ifndef TV_TENSOR_H
#define TV_TENSOR_H

#include "dtype.h"
#include "error.h"
#include "mem.h"

#include <math.h>
#include <stdint.h>

#define TENSOR_RANK_MAX 16

/* Key-value pairs that this version does not know, kept as they came: `n` encoded pairs. */
struct unknown_keys {
    size_t n, size;
    const unsigned char *bytes;
};

/* One model's contribution to one tensor. */
struct vector {
    size_t model;            /* index into header.models */
    const char *source;      /* the tensor's name in that model; NULL: it has none (after a join) */
    enum dtype dtype;        /* on the wire */
    enum dtype stored_dtype; /* in the model's file; DTYPE_NONE: not known */
    /* The rest is said in the tensor's own header, not in the manifest. */
    size_t n_weights; /* 1, or m for contiguous chunks of ceil(n/m) elements */
    const double *weights;
    double l1_before;        /* L1 norm before elements were dropped; NAN: not said */
    double keep_probability; /* probability with which elements were kept; NAN: not said */
    struct unknown_keys
        unknown_payload_keys; /* unknown attributes of the payload: dropped when it changes */
    struct unknown_keys unknown_keys;
};

struct tensor {
    const char *name;      /* the output name */
    const char *base_name; /* the name in the base model (task vectors); NULL: same as name */
    size_t rank;
    const uint64_t *shape;
    long layer, layers; /* layer, of how many in its slice; -1 outside the layers */
    size_t n_vectors;
    struct vector *vectors;
    size_t input_index; /* position in the manifest before the stage's open; set by the runner */
    struct unknown_keys unknown_keys;
};

struct unknown_keys unknown_keys_copy(struct arena *a, struct unknown_keys x);
struct tensor tensor_copy(struct arena *a, const struct tensor *from);

/* Number of elements; 1 for a scalar. Shapes in a header are checked: this cannot overflow. */
size_t tensor_elements(const struct tensor *t);
/* Elements of a row (last dimension); 1 for a scalar. */
size_t tensor_columns(const struct tensor *t);
/* "(300, 64)", into the arena. */
const char *tensor_format_shape(struct arena *a, size_t rank, const uint64_t *shape);
/* Rank, dimensions and bytes (8 per element) within bounds? */
int tensor_check_shape(const char *name, size_t rank, const uint64_t *shape, struct error *e);
bool tensor_same_shape(const struct tensor *a, const struct tensor *b);
/* True if every vector has a floating dtype. */
bool tensor_is_float(const struct tensor *t);

/* Blocks are a function of the shape alone (share/stream.md, "Blocks"). */
size_t tensor_block_elements(const struct tensor *t); /* of a full block */
size_t tensor_block_count(const struct tensor *t);
/* First element and number of elements of block `index`. */
void tensor_block_range(const struct tensor *t, size_t index, size_t *first, size_t *n);

/* The block that holds the element with that flat index. */
size_t tensor_block_containing(const struct tensor *t, size_t element);

/* A vector with weight 1 and no payload attributes. */
struct vector vector_with_defaults(size_t model, const char *source, enum dtype dtype,
                                   enum dtype stored);
/* What describes the payload after a change to it: these two (NAN: not said), nothing else. */
void vector_set_attributes(struct vector *v, double l1_before, double keep);
void vector_set_weights(struct vector *v, struct arena *a, size_t n, const double *weights);
/* Can it be cut into m chunks of ceil(n/m) elements, none of them empty? */
bool tensor_can_split(const struct tensor *t, size_t m);
/* The weights of all K vectors, w[K], at flat index `first`; they hold for as many elements as are
 * returned, at most n. */
size_t tensor_weights_at(const struct tensor *t, size_t first, size_t n, double *w);
/* True if some weight is not 1. */
bool vector_is_weighted(const struct vector *v);

#endif
