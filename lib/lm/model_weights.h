/* A language model in a file: its config.json, and its tensors, found by name and checked in shape,
 * as the weights that lm.h computes with. Only one layer is held in F32, and not even that where
 * the file is in F32: then the weights are used where they are mapped. A backbone owns all it
 * returns until model_weights_close. */
#ifndef TV_MODEL_WEIGHTS_H
#define TV_MODEL_WEIGHTS_H

#include "model_source.h"
#include "lm.h"

struct model_weights;

/* `operand` as for model_source_open. `config`: a file in place of the model's own config.json,
 * needed for a saved stream, which has none; NULL: the model's own. NULL on error, before any
 * weight was read: an architecture that is not known, a tensor that is missing, too many, or of
 * another shape than the config says. */
struct model_weights *model_weights_open(const char *operand, const char *config, const char *spool,
                                         const char *tool, struct error *e);
void model_weights_close(struct model_weights *b);

/* Lets go of the layer that is held, until one is asked for again. */
void model_weights_release_layer(struct model_weights *b);

const struct arch *model_weights_arch(const struct model_weights *b);
const struct model_source *model_weights_model_source(const struct model_weights *b);
const struct weight_source *model_weights_weight_source(const struct model_weights *b);

/* The tensor of the file that is this part, `layer` counting for a part of a layer: for a head that
 * is tied, the embedding. -1: the model has no such part. */
long model_weights_tensor_index(const struct model_weights *b, enum weight_kind part, size_t layer);
/* The element of that tensor at which the part begins: not 0 where a vision layer's q, k and v are
 * fused. */
size_t model_weights_tensor_offset(const struct model_weights *b, enum weight_kind part,
                                   size_t layer);
/* n elements of the part from `first` on. */
void model_weights_read(const struct model_weights *b, enum weight_kind part, size_t layer,
                        size_t first, size_t n, float *to);

#endif
