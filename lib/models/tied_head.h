/* LM heads that repeat the embedding: libraries save one for some models whose head and embedding
 * are tied. The functions borrow the model. */
#ifndef TV_TIED_HEAD_H
#define TV_TIED_HEAD_H

#include "model_source.h"

/* Is tensor i a head with the elements of the embedding, in a model whose config.json says that
 * head and embedding are tied? -1 on error. The elements and the config are read only where this
 * matters. */
int tied_head_is_stored_again(const struct model_source *m, size_t i, struct error *e);

#endif
