/* config.json of a model in GGUF files, from its metadata and tensors, as transformers writes it
 * for LlamaForCausalLM and Qwen2ForCausalLM. */
#ifndef TV_GGUF_CONFIG_H
#define TV_GGUF_CONFIG_H

#include "gguf_model.h"

/* The text; the caller frees. NULL, with the reason, if the metadata or tensors are not those of a
 * whole model. The model is of a known architecture. */
char *gguf_config_json(const struct gguf_model *m, struct error *e);

#endif
