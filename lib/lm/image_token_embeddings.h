/* Image tokens in a batch, forward and backward: their rows of x_0 are the projector's output
 * instead of token embeddings. */
#ifndef TV_IMAGE_TOKEN_EMBEDDINGS_H
#define TV_IMAGE_TOKEN_EMBEDDINGS_H

#include "image_features.h"
#include "token_batch.h"
#include "weight_gradient.h"

/* Writes the rows of x (N, d) whose tokens are TOKEN_BATCH_IMAGE_TOKEN. */
int image_token_embeddings_forward(const struct arch *a, const struct weight_source *w,
                                   const struct image_features *f, const struct token_batch *b,
                                   float *x, struct error *e);
/* The batch has images, and the sink wants the gradient of a weight of the projector. */
bool image_token_embeddings_need_gradient(const struct arch *a, const struct token_batch *b,
                                          const struct gradient_sink *sink);
/* Sends the gradients of the projector's weights, from the same rows of dx (N, d). */
int image_token_embeddings_backward(const struct arch *a, const struct weight_source *w,
                                    const struct image_features *f, const struct token_batch *b,
                                    const float *dx, const struct gradient_sink *sink,
                                    struct error *e);

#endif
