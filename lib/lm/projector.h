/* The projector: from the features of a vision tower (vision_tower.h) to rows that stand in place
 * of embeddings, forward and backward.
 *
 *     y = Out gelu(In layernorm(x) + b) + b
 *
 * The norm is over the P numbers of a token (InternVL), or over the E of each of its patches
 * (Qwen2-VL). The gradient ends here: nothing below is learned. No I/O, no allocation. */
#ifndef TV_PROJECTOR_H
#define TV_PROJECTOR_H

#include "decoder_layer.h"

/* Floats of scratch for n tokens. */
size_t projector_scratch_floats(const struct arch *a, size_t n);

/* x (n, P), y (n, d) */
void projector_forward(const struct arch *a, const struct layer_weights *w, const float *x,
                       size_t n, float *y, float *scratch);
/* Gives the gradients of the projector's own tensors that the taker wants; dy (n, d). */
void projector_backward(const struct arch *a, const struct layer_weights *w, const float *x,
                        size_t n, const float *dy, const struct gradient_sink *taker,
                        float *scratch);

#endif
