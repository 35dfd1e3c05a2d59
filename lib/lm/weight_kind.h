/* The kinds of weight tensors that a model has, their shapes and names: one kind for each weight of
 * a decoder layer, of the projector and of a layer of the vision tower, and one for each tensor
 * outside the layers. A kind and a layer number identify a tensor. Nothing here is owned.
 *
 * q, k and v are separate kinds, although some files store them as one fused tensor. */
#ifndef TV_WEIGHT_KIND_H
#define TV_WEIGHT_KIND_H

#include "arch.h"

#include <stdint.h>

enum weight_kind {
    WEIGHT_Q, /* of a decoder layer, to WEIGHT_DECODER_LAYER_END */
    WEIGHT_K,
    WEIGHT_V,
    WEIGHT_O,
    WEIGHT_GATE,
    WEIGHT_UP,
    WEIGHT_DOWN,
    WEIGHT_INPUT_NORM,
    WEIGHT_POST_ATTENTION_NORM,
    WEIGHT_Q_BIAS,
    WEIGHT_K_BIAS,
    WEIGHT_V_BIAS,
    WEIGHT_O_BIAS,
    WEIGHT_GATE_BIAS,
    WEIGHT_UP_BIAS,
    WEIGHT_DOWN_BIAS,
    WEIGHT_Q_NORM, /* of each head's query, (D) */
    WEIGHT_K_NORM,
    WEIGHT_DECODER_LAYER_END,

    WEIGHT_EMBEDDING = WEIGHT_DECODER_LAYER_END, /* (V, d) */
    WEIGHT_FINAL_NORM,                           /* (d) */
    WEIGHT_LM_HEAD,                              /* (V, d) */
    WEIGHT_TEXT_END,

    WEIGHT_PROJECTOR_NORM = WEIGHT_TEXT_END,
    WEIGHT_PROJECTOR_NORM_BIAS,
    WEIGHT_PROJECTOR_IN, /* the first of two linear maps */
    WEIGHT_PROJECTOR_IN_BIAS,
    WEIGHT_PROJECTOR_OUT,
    WEIGHT_PROJECTOR_OUT_BIAS,
    WEIGHT_PROJECTOR_END,

    WEIGHT_VISION_NORM1 = WEIGHT_PROJECTOR_END, /* of a layer of the vision tower */
    WEIGHT_VISION_NORM1_BIAS,
    WEIGHT_VISION_Q,
    WEIGHT_VISION_K,
    WEIGHT_VISION_V,
    WEIGHT_VISION_Q_BIAS,
    WEIGHT_VISION_K_BIAS,
    WEIGHT_VISION_V_BIAS,
    WEIGHT_VISION_Q_NORM,
    WEIGHT_VISION_K_NORM,
    WEIGHT_VISION_O,
    WEIGHT_VISION_O_BIAS,
    WEIGHT_VISION_LAYERSCALE1, /* InternVL: LayerScale of the attention's output */
    WEIGHT_VISION_NORM2,
    WEIGHT_VISION_NORM2_BIAS,
    WEIGHT_VISION_FC1,
    WEIGHT_VISION_FC1_BIAS,
    WEIGHT_VISION_FC2,
    WEIGHT_VISION_FC2_BIAS,
    WEIGHT_VISION_LAYERSCALE2, /* InternVL: LayerScale of the MLP's output */
    WEIGHT_VISION_LAYER_END,

    WEIGHT_VISION_PATCH_EMBEDDING = WEIGHT_VISION_LAYER_END, /* (E, c) */
    WEIGHT_VISION_PATCH_EMBEDDING_BIAS,
    WEIGHT_VISION_CLASS_EMBEDDING,    /* (E) */
    WEIGHT_VISION_POSITION_EMBEDDING, /* (1 + position_grid^2, E) */
    WEIGHT_VISION_FINAL_NORM,
    WEIGHT_VISION_FINAL_NORM_BIAS,
    WEIGHT_KINDS
};

/* Kinds first .. end - 1, which are loaded and used together. */
struct weight_range {
    enum weight_kind first, end;
};
#define WEIGHT_RANGE_DECODER_LAYER ((struct weight_range){WEIGHT_Q, WEIGHT_DECODER_LAYER_END})
#define WEIGHT_RANGE_PROJECTOR     ((struct weight_range){WEIGHT_PROJECTOR_NORM, WEIGHT_PROJECTOR_END})
#define WEIGHT_RANGE_VISION_LAYER                                                                  \
    ((struct weight_range){WEIGHT_VISION_NORM1, WEIGHT_VISION_LAYER_END})
#define WEIGHT_RANGE_VISION_OUTSIDE_LAYERS                                                         \
    ((struct weight_range){WEIGHT_VISION_PATCH_EMBEDDING, WEIGHT_KINDS})

#define WEIGHT_KIND_MAX_RANK  5  /* dimensions of a tensor in a file, at most */
#define WEIGHT_KIND_NAME_SIZE 96 /* bytes of a canonical name, at most */

/* The shape (rows, columns) of a weight; `columns` is 0 for a vector. Returns whether a model of
 * this architecture has the weight. */
bool weight_kind_find_shape(const struct arch *a, enum weight_kind kind, size_t *rows,
                            size_t *columns);
/* The shape of its tensor in files; returns the rank. The patch embedding is stored as a
 * convolution, class and position embedding with leading ones. */
size_t weight_kind_file_shape(const struct arch *a, enum weight_kind kind,
                              uint64_t shape[WEIGHT_KIND_MAX_RANK]);
/* Its elements; 0 if the model does not have it. */
size_t weight_kind_elements(const struct arch *a, enum weight_kind kind);
/* The elements of the largest range, in one layer. */
size_t weight_kind_largest_range(const struct arch *a);
/* The layers that have this kind; 1 for a weight outside the layers. */
size_t weight_kind_layers(const struct arch *a, enum weight_kind kind);
/* The index of a weight among all weights of all layers, below weight_kind_index_count. */
size_t weight_kind_index(const struct arch *a, enum weight_kind kind, size_t layer);
size_t weight_kind_index_count(const struct arch *a);
/* Writes its canonical name (name_scheme.h), such as "text.layers.3.self_attn.q_proj.weight", to
 * `name` (WEIGHT_KIND_NAME_SIZE) and returns it. Weights outside the layers ignore `layer`. */
const char *weight_kind_name(enum weight_kind kind, size_t layer, char *name);

#endif
