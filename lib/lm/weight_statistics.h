/* Statistics of a model on samples, one tensor for each weight, under the weight's name in the
 * model's file: the Gram matrices of the inputs of linear maps (input_grams.h). They are computed
 * one layer at a time, in the order of the layers. A weight_statistics owns its buffers until
 * weight_statistics_free. */
#ifndef TV_WEIGHT_STATISTICS_H
#define TV_WEIGHT_STATISTICS_H

#include "model_weights.h"
#include "token_batch.h"

struct image_features;
struct lm;
struct weight_statistics;

/* Adds the tensors to a header that has the model as its first. `m` is borrowed. */
struct weight_statistics *weight_statistics_new(const struct model_weights *m, struct header *h);
void weight_statistics_free(struct weight_statistics *s);

/* Computes tensor i of the header, unless it is already computed. Everything is borrowed; `memory`
 * and `spool` as for spool_new. */
int weight_statistics_compute(struct weight_statistics *s, size_t i, struct lm *lm,
                              const struct token_batch *b, size_t memory, const char *spool,
                              struct error *e);
/* Its elements, until the next call of weight_statistics_compute. */
const float *weight_statistics_elements(const struct weight_statistics *s, size_t i);

#endif
