/* Statistics of a model on samples, one tensor for each weight, under the weight's name in the
 * model's file: Gram matrices of the inputs of linear maps (input_grams.h), or the diagonal of the
 * Fisher information (fisher_diagonal.h). They are computed one layer at a time. A
 * weight_statistics owns its buffers until weight_statistics_free. */
#ifndef TV_WEIGHT_STATISTICS_H
#define TV_WEIGHT_STATISTICS_H

#include "model_weights.h"
#include "samples.h"

struct lm;
struct weight_statistics;

enum statistic { STATISTIC_GRAM, STATISTIC_FISHER };

/* Adds the tensors to a header that has the model as its first, in the order in which they are
 * computed. `m` is borrowed. */
struct weight_statistics *weight_statistics_new(enum statistic statistic,
                                                const struct model_weights *m, struct header *h);
void weight_statistics_free(struct weight_statistics *s);

/* What the computation uses; borrowed. `batch` is that of the samples. `memory` and `spool` are as
 * for spool_new. */
struct statistics_run {
    struct lm *lm;
    const struct samples *samples;
    const struct token_batch *batch;
    size_t memory;
    const char *spool;
};

/* Prepares tensor i of the header; its elements can be read until the next call. */
int weight_statistics_compute(struct weight_statistics *s, size_t i, const struct statistics_run *r,
                              struct error *e);
/* Elements first .. first + n - 1 of that tensor. */
int weight_statistics_read(struct weight_statistics *s, size_t i, size_t first, size_t n, float *to,
                           struct error *e);

#endif
