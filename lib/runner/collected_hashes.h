/* Full hashes of the models, and of single tensors, that a run has read. A list owns its texts
 * until collected_hashes_free. */
#ifndef TV_COLLECTED_HASHES_H
#define TV_COLLECTED_HASHES_H

#include "mem.h"

#include <stddef.h>
#include <stdint.h>

/* The hash of what was read of a model for one tensor. */
struct tensor_hash {
    const char *model;
    size_t index;      /* in the source's manifest */
    size_t sink_index; /* in the sink's manifest; SIZE_MAX: a stage dropped the tensor */
    uint64_t hash;
};

struct collected_hashes {
    size_t n_models;
    const char **models;
    uint64_t *model_hashes; /* [model] */
    size_t n_tensors;
    struct tensor_hash *tensors;
    struct arena arena; /* of the models' names */
};

void collected_hashes_add_model(struct collected_hashes *all, const char *model, uint64_t hash);
/* Borrows the model's name. */
void collected_hashes_add_tensor(struct collected_hashes *all, const struct tensor_hash *hash);
void collected_hashes_free(struct collected_hashes *all);

#endif
