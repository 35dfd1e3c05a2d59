/* config.json of a model in GGUF files, from its metadata and tensors, as transformers writes it
 * for LlamaForCausalLM and Qwen2ForCausalLM. */
#ifndef TV_GGUF_CONFIG_H
#define TV_GGUF_CONFIG_H

#include "gguf_model.h"

#include <jansson.h>

/* The text; the caller frees. NULL, with the reason, if the metadata or tensors are not those of a
 * whole model. The model is of a known architecture. */
char *gguf_config_json(const struct gguf_model *m, struct error *e);

/* Checks that the model has every tensor that its metadata imply, in the implied shape. The model
 * is of a known architecture. */
int gguf_config_check_tensors(const struct gguf_model *m, struct error *e);

/* What pack recorded in the metadata: general.tvtools_KEY as tvtools_KEY, in a JSON object of
 * strings. 1: read; the caller drops the reference. 0: there are none, and *metadata is NULL. */
int gguf_config_read_recorded_metadata(const struct gguf_model *m, json_t **metadata);

#endif
