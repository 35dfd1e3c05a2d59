/* Images among the tokens of samples: rows of the projector in the places of embeddings, forward
 * and backward. */
#ifndef TV_VISUAL_H
#define TV_VISUAL_H

#include "sights.h"

/* Fills in the rows of x (N, d) whose tokens are PACK_VISUAL. */
int visual_forward(const struct arch *a, const struct lm_weights *w, const struct sights *f,
                   const struct pack *p, float *x, struct error *e);
/* Is a gradient wanted that comes through them? */
bool visual_wanted(const struct arch *a, const struct pack *p, const struct gradient_taker *taker);
/* The projector's gradients from these rows of dx (N, d). */
int visual_backward(const struct arch *a, const struct lm_weights *w, const struct sights *f,
                    const struct pack *p, const float *dx, const struct gradient_taker *taker,
                    struct error *e);

#endif
