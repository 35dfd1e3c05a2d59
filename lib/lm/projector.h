/* The projector of a vision-language model, forward and backward: it maps image features of the
 * vision tower (vision_tower.h) to rows that take the place of token embeddings.
 *
 *     y = Out gelu(In layernorm(x) + b) + b
 *
 * The norm is over the P values of a feature (InternVL), or over the E values of each of its
 * patches (Qwen2-VL). The backward pass ends here, because the vision tower is not learned. No I/O,
 * no allocation. */
#ifndef TV_PROJECTOR_H
#define TV_PROJECTOR_H

#include "weight_gradient.h"
#include "weight_source.h"

/* Floats of scratch memory for n features. */
size_t projector_scratch_floats(const struct arch *a, size_t n);

/* x (n, P), y (n, d); w: the weights of WEIGHT_RANGE_PROJECTOR. */
void projector_forward(const struct arch *a, const struct layer_weights *w, const float *x,
                       size_t n, float *y, float *scratch);
/* From dy (n, d), sends the gradients of the projector's weights that the sink wants. */
void projector_backward(const struct arch *a, const struct layer_weights *w, const float *x,
                        size_t n, const float *dy, const struct gradient_sink *sink,
                        float *scratch);

#endif
