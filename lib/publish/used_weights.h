/* The weights that joins used to make the tensors of a checkpoint (struct joined_vector), as JSON:
 * for the checkpoint itself, for the records of its shards and for the model card.
 *
 *     {"weights": W}                   the same for all tensors
 *     {"tensors": {TENSOR: W, ...}}    otherwise
 *
 * W is {MODEL: WEIGHT, ...}, with the vectors that the join merged; {} if all weights were 1. A
 * WEIGHT is a number, or a list of the numbers of the chunks; or {"weight": ..., "weights": W} for
 * a vector that was itself made by a join. Numbers have 17 significant digits. Tensors that were
 * copied from the base are not listed.
 *
 * A used_weights owns what its functions return, unless they say something else, until
 * used_weights_free. */
#ifndef TV_USED_WEIGHTS_H
#define TV_USED_WEIGHTS_H

#include "header.h"

#include <jansson.h>

/* The file of a checkpoint that contains them, and the metadata of a checkpoint that is one file.
 */
#define USED_WEIGHTS_FILE     "tvtools_weights.json"
#define USED_WEIGHTS_METADATA "tvtools_weights"

struct used_weights;

/* For the n tensors of a checkpoint; none of them is listed yet. */
struct used_weights *used_weights_new(size_t n);
/* NULL is allowed. */
void used_weights_free(struct used_weights *u);

/* Lists tensor i, whose vector is `v`. */
void used_weights_add(struct used_weights *u, size_t i, const struct vector *v);
/* W of tensor i; NULL if it is not listed. */
json_t *used_weights_of_tensor(const struct used_weights *u, size_t i);
/* Lists tensor i with this W, whose reference it does not take. */
void used_weights_add_json(struct used_weights *u, size_t i, json_t *weights);

/* The JSON for the checkpoint that `h` describes; NULL if all weights were 1. The caller frees. */
char *used_weights_text(const struct used_weights *u, const struct header *h);
/* The length of that text if all tensors have the same weights, one for each model, or more; 0 if
 * no join made the tensors. */
size_t used_weights_text_room(const struct header *h);

/* The weights of a model in all tensors that have some. */
struct used_weights_summary {
    const char *model;
    size_t tensors;
    double sum, least, most; /* `sum`: of the tensors' means over their chunks */
};

/* For the models of `h` in their order; their number, of those that have weights. The caller frees
 * *models. */
size_t used_weights_summarize(const struct used_weights *u, const struct header *h,
                              struct used_weights_summary **models);

#endif
