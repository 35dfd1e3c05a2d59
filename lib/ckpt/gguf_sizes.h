/* The sizes of a GGUF model, from its metadata, and the check of its tensors against them. */
#ifndef TV_GGUF_SIZES_H
#define TV_GGUF_SIZES_H

#include "gguf_model.h"

struct gguf_sizes {
    uint64_t hidden, intermediate, layers, heads, kv_heads, head_dim, context, vocabulary;
};

/* Reads the sizes, and checks that the model has every tensor that they imply, in that shape. The
 * model is of a known architecture. */
int gguf_sizes_read(struct gguf_sizes *s, const struct gguf_model *m, struct error *e);

#endif
