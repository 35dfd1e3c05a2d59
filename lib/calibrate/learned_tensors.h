/* The learned tensors: the tensors of the stream that get learned coefficients. All others keep
 * the base's values: by default norms, biases, embedding, head and vision tower. A struct
 * learned_tensors owns its arrays until learned_tensors_free; the names belong to the header. */
#ifndef TV_LEARNED_TENSORS_H
#define TV_LEARNED_TENSORS_H

#include "calibrate_options.h"
#include "task_vectors.h"

struct learned_tensor {
    enum weight_kind kind;
    size_t layer;
    size_t stream_index;
};

struct learned_tensors {
    size_t n;
    struct learned_tensor *tensors; /* [learned tensor], in the order of the model */
    const char **names;             /* [learned tensor] */
    long *index;                    /* [tensor of the stream]: its learned tensor; -1: none */
};

/* Selects by --keep-base and --preset. Nothing to merge is an error; a glob of --keep-base that
 * matches no tensor gets a warning from `tool`. */
int learned_tensors_select(struct learned_tensors *m, const struct calibrate_options *o,
                           const struct model_weights *base, const struct task_vectors *tv,
                           const struct header *h, const char *tool, struct error *e);
void learned_tensors_free(struct learned_tensors *m);

#endif
