/* Images among the tokens of samples: rows of the projector in the places of embeddings, forward
 * and backward. */
#ifndef TV_IMAGE_TOKENS_H
#define TV_IMAGE_TOKENS_H

#include "image_features.h"

/* Fills in the rows of x (N, d) whose tokens are TOKEN_BATCH_IMAGE_TOKEN. */
int image_tokens_forward(const struct arch *a, const struct weight_source *w,
                         const struct image_features *f, const struct token_batch *p, float *x,
                         struct error *e);
/* Is a gradient wanted that comes through them? */
bool image_tokens_need_gradient(const struct arch *a, const struct token_batch *p,
                                const struct gradient_sink *taker);
/* The projector's gradients from these rows of dx (N, d). */
int image_tokens_backward(const struct arch *a, const struct weight_source *w,
                          const struct image_features *f, const struct token_batch *p,
                          const float *dx, const struct gradient_sink *taker, struct error *e);

#endif
