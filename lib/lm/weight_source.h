/* A source of model weights: callbacks that load, in F32, the weights of one layer or some rows of
 * a large tensor when they are needed. The whole model need not be in memory. model_weights.h reads
 * the weights from a file; calibrate merges them while it loads them. */
#ifndef TV_WEIGHT_SOURCE_H
#define TV_WEIGHT_SOURCE_H

#include "error.h"
#include "weight_kind.h"

/* The weights of one weight_range: of a decoder layer, the projector, a layer of the vision tower
 * or the tower outside its layers. Shapes are those of weight_kind_find_shape. NULL for a weight
 * that the model does not have or that is outside the range. */
struct layer_weights {
    const float *at[WEIGHT_KINDS];
};

struct weight_source {
    void *context;
    /* Points `w` to the weights of a range; they are valid until the next call. Returns 0, or -1
     * on error. */
    int (*load_layer)(void *context, struct weight_range range, size_t layer,
                      struct layer_weights *w, struct error *e);
    /* Rows first .. first + n - 1 of the embedding or LM head, or elements of the final norm.
     * Returns where they are, in the source's memory or written to `to`; they are valid until `to`
     * is written again. NULL on error. */
    const float *(*load_rows)(void *context, enum weight_kind kind, size_t first, size_t n,
                              float *to, struct error *e);
};

#endif
