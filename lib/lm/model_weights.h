/* The weights of a model in a file, for the computation: config.json says which architecture it
 * has, and its tensors are found by name and checked. One layer at a time is converted to F32; the
 * tensors of an F32 file are used where they are mapped, without a copy. A struct model_weights
 * owns everything it returns until model_weights_close. */
#ifndef TV_MODEL_WEIGHTS_H
#define TV_MODEL_WEIGHTS_H

#include "model_source.h"
#include "weight_source.h"

struct model_weights;

/* `operand` as for model_source_open. `config`: a file to use instead of the model's config.json,
 * required for a saved stream, which has none; or NULL. `tool`: the program name in warnings. NULL
 * on error, before any weight is read: an unsupported architecture, or a tensor that is missing,
 * unexpected, or of another shape than config.json says. */
struct model_weights *model_weights_open(const char *operand, const char *config, const char *spool,
                                         const char *tool, struct error *e);
/* The same with the config.json of another model, for a file that has none. */
struct model_weights *model_weights_open_like(const char *operand, const struct model_weights *like,
                                              const char *spool, const char *tool, struct error *e);
void model_weights_close(struct model_weights *m);

/* Frees the buffer of the current layer until a layer is loaded again. */
void model_weights_release_layer(struct model_weights *m);

const struct arch *model_weights_arch(const struct model_weights *m);
/* XXH3 of the file given in place of config.json, for the history. */
uint64_t model_weights_config_hash(const struct model_weights *m);
const struct model_source *model_weights_model_source(const struct model_weights *m);
const struct weight_source *model_weights_weight_source(const struct model_weights *m);

/* The index of the tensor in the file that has this weight; with tied embeddings the LM head's is
 * the embedding's. -1: the model does not have the weight. Weights outside the layers ignore
 * `layer`. */
long model_weights_tensor_index(const struct model_weights *m, enum weight_kind kind, size_t layer);
/* The element of that tensor at which the weight begins; not 0 if q, k and v are fused. */
size_t model_weights_tensor_offset(const struct model_weights *m, enum weight_kind kind,
                                   size_t layer);
/* Elements first .. first + n - 1 of a weight, in F32. */
void model_weights_read(const struct model_weights *m, enum weight_kind kind, size_t layer,
                        size_t first, size_t n, float *to);

#endif
