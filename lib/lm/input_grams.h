/* Gram matrices of the inputs of a model's linear maps y = x W^T + b,
 *
 *     G = mean over all tokens of x x^T                            (n, n), n columns of W
 *
 * of all decoder layers, one layer at a time, and of the LM head. Maps with the same input (q, k
 * and v; gate and up) share a matrix. An input_grams owns its matrices and the hidden states of all
 * tokens, which are in memory up to a limit and otherwise in a temporary file. */
#ifndef TV_INPUT_GRAMS_H
#define TV_INPUT_GRAMS_H

#include "lm.h"

struct input_grams;

/* The kind that stands for all weights with the same input: q for q, k and v, and gate for gate and
 * up. WEIGHT_KINDS: not a linear map of the decoder. */
enum weight_kind input_grams_representative(enum weight_kind kind);

/* Of the samples of `b`. Everything is borrowed. `memory`, `spool`: as for spool_new. */
struct input_grams *input_grams_new(const struct arch *a, struct lm *lm,
                                    const struct token_batch *b, size_t memory, const char *spool);
void input_grams_free(struct input_grams *g);

/* Computes the matrices of a layer, or with layer L that of the LM head, and discards the others.
 * The layers before it are passed through; a layer before the current one begins again at layer 0.
 */
int input_grams_compute_layer(struct input_grams *g, size_t layer, struct error *e);
/* The matrix (n, n) of a weight of that layer. */
const float *input_grams_matrix(const struct input_grams *g, enum weight_kind kind);

#endif
