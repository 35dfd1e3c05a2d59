/* One decoder layer (Llama, Mistral, Qwen2), forward and backward, over the samples of a batch:
 *
 *     h = x + O attention(rope(Q rmsnorm(x)), rope(K rmsnorm(x)), V rmsnorm(x))
 *     y = h + Down swiglu(Gate rmsnorm(h), Up rmsnorm(h))
 *
 * The activations of a forward pass are in a layer_workspace, which the next layer reuses; before
 * the backward pass they are recomputed from the layer's input x: all of them by
 * decoder_layer_forward, or, if the expensive ones were saved, the rest by decoder_layer_recompute.
 * Gradients of weights are sent to a gradient_sink and are not stored. No I/O, no files, no
 * streams. */
#ifndef TV_DECODER_LAYER_H
#define TV_DECODER_LAYER_H

#include "layer_workspace.h"
#include "token_batch.h"
#include "weight_gradient.h"
#include "weight_source.h"

/* A layer, its weights, the batch of N tokens that passes through it, and its activations.
 * Borrowed. */
struct decoder_layer {
    const struct arch *arch;
    size_t index;
    const struct layer_weights *weights;
    const struct token_batch *batch;
    struct layer_workspace *workspace;
};

/* y = layer(x);  x, y (N, d). y may be x, or NULL: then only the workspace is filled. */
void decoder_layer_forward(const struct decoder_layer *l, const float *x, float *y);
/* Recomputes the activations that are not saved. */
void decoder_layer_recompute(const struct decoder_layer *l, const float *x);
/* Call this after one of these functions with the same x; it overwrites the workspace. dy (N, d)
 * becomes dx; with `needs_dx` false it is undefined, which saves three matrix products in the
 * lowest layer. */
void decoder_layer_backward(const struct decoder_layer *l, const float *x, float *dy, bool needs_dx,
                            const struct gradient_sink *sink);

#endif
