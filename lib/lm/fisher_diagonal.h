/* The diagonal of a model's Fisher information (Matena and Raffel 2022, arXiv 2111.09832), for each
 * weight of the decoder, its embedding and LM head:
 *
 *     F = mean over samples of (d/dW sum_t ln p(y_t | x_<t))^2      element by element
 *
 * y_t is the model's own prediction, the most likely token, at the positions of the response, or if
 * it is not given, at all but the first. Computed from the last layer to the first; memory holds
 * the squares of one layer, or some rows of the embedding and LM head. A fisher_diagonal owns them
 * and the hidden states and gradients of all samples, which are in memory up to a limit and
 * otherwise in a temporary file. */
#ifndef TV_FISHER_DIAGONAL_H
#define TV_FISHER_DIAGONAL_H

#include "lm.h"
#include "samples.h"

struct fisher_diagonal;

/* `b` is the batch of the samples. `tied`: the LM head is the embedding, whose gradient is the sum
 * of both. Everything is borrowed. `memory`, `spool`: as for spool_new. */
struct fisher_diagonal *fisher_diagonal_new(const struct arch *a, const struct weight_source *w,
                                            bool tied, struct lm *lm, const struct samples *samples,
                                            const struct token_batch *b, size_t memory,
                                            const char *spool);
void fisher_diagonal_free(struct fisher_diagonal *f);

/* Prepares the diagonal of a weight, and discards those of other layers. From one call to the
 * next the order is: LM head, final norm, layers L - 1 .. 0, embedding; a weight before the current
 * one begins again. An error if no sample has a token to predict. */
int fisher_diagonal_compute(struct fisher_diagonal *f, enum weight_kind kind, size_t layer,
                            struct error *e);
/* Elements first .. first + n - 1 of that weight's diagonal. */
int fisher_diagonal_read(struct fisher_diagonal *f, enum weight_kind kind, size_t first, size_t n,
                         float *to, struct error *e);

#endif
