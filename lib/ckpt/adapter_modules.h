/* The modules that a LoRA adapter of peft changes, from the names of its tensors:
 *
 *     base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight
 *     `--------------´ `-----------------------------´ `-----------´
 *      may be missing              module                   part
 *
 * In the state dict of a model in training the name of the adapter follows lora_A
 * ("lora_A.default.weight").
 *
 * An adapter_modules owns its list and names until adapter_modules_free. */
#ifndef TV_ADAPTER_MODULES_H
#define TV_ADAPTER_MODULES_H

#include "ckpt.h"

enum adapter_part {
    ADAPTER_A,           /* lora_A.weight: (rank, in), or (rank, in, ...) of a convolution */
    ADAPTER_B,           /* lora_B.weight: (out, rank), or (out, rank, 1, ...) */
    ADAPTER_B_BIAS,      /* lora_B.bias: (out) */
    ADAPTER_EMBEDDING_A, /* lora_embedding_A: (rank, rows) */
    ADAPTER_EMBEDDING_B, /* lora_embedding_B: (columns, rank) */
    ADAPTER_MAGNITUDE,   /* lora_magnitude_vector, of DoRA: (out); of an embedding (columns) */
    ADAPTER_TOKENS,      /* token_adapter.trainable_tokens_delta: rows of an embedding */
    ADAPTER_WEIGHT,      /* the whole weight or bias of the module, in place of the base's */
    ADAPTER_BIAS,
    ADAPTER_PARTS
};

struct adapter_module {
    const char *name;
    long parts[ADAPTER_PARTS]; /* the tensor of the file; -1: the module has none */
};

struct adapter_modules {
    struct adapter_module *list; /* in the order of their first tensors */
    size_t n, capacity;
    struct arena arena;
};

/* Lists the modules of an adapter's weight file. Tensors that are no part of a LoRA adapter, or of
 * several adapters, are an error, and so are two tensors for one part. The caller frees `m`, also
 * after an error. */
int adapter_modules_list(struct adapter_modules *m, const struct ckpt *c, struct error *e);
void adapter_modules_free(struct adapter_modules *m);

#endif
