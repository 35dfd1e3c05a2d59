/* Names of tensors in GGUF files and in Hugging Face checkpoints, for the architectures llama and
 * qwen2 (gguf-py/gguf/tensor_mapping.py of ggml-org/llama.cpp). */
#ifndef TV_GGUF_NAMES_H
#define TV_GGUF_NAMES_H

#include "mem.h"

enum gguf_name_kind {
    GGUF_NAME_WEIGHT,   /* it has a Hugging Face name */
    GGUF_NAME_ROPE,     /* rope_freqs.weight: a setting, not a weight */
    GGUF_NAME_LONGROPE, /* rope_factors_*.weight: settings that are not supported */
    GGUF_NAME_DROPPED,  /* a leftover of very old files */
    GGUF_NAME_UNKNOWN
};

/* The kind of a name in a file; *name is the Hugging Face name of a weight, in the arena. */
enum gguf_name_kind gguf_names_to_hf(const char *gguf_name, struct arena *a, const char **name);
/* Is it a weight or bias of q (1) or k (2)? 0: of neither. `gguf_name` is the name in the file. */
int gguf_names_find_q_or_k(const char *gguf_name);

#endif
