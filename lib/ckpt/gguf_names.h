/* Names of tensors in GGUF files and in Hugging Face checkpoints, for the architectures llama and
 * qwen2 (gguf-py/gguf/tensor_mapping.py of ggml-org/llama.cpp), and the order of the rows of q and
 * k, which files of llama store for interleaved rotary embeddings. */
#ifndef TV_GGUF_NAMES_H
#define TV_GGUF_NAMES_H

#include "mem.h"

#include <stdbool.h>
#include <stdint.h>

enum gguf_name_kind {
    GGUF_NAME_WEIGHT,     /* it has a Hugging Face name */
    GGUF_NAME_ROPE,       /* rope_freqs.weight: part of the settings, not a weight */
    GGUF_NAME_DROPPED,    /* a leftover of very old files */
    GGUF_NAME_UNSUPPORTED /* longrope's factors */,
    GGUF_NAME_UNKNOWN
};

/* The kind of a name in a file; *name is the Hugging Face name of a weight, in the arena. */
enum gguf_name_kind gguf_names_to_hf(const char *gguf_name, struct arena *a, const char **name);
/* The name in a GGUF file of a weight with this Hugging Face name, in the arena; NULL if it has
 * none. */
const char *gguf_names_from_hf(const char *name, struct arena *a);

/* Is it a weight or bias of q (1) or k (2)? 0: of neither. `gguf_name` is the name in the file. */
int gguf_names_find_q_or_k(const char *gguf_name);

/* Rows of q or k in the order of a GGUF file of llama: pairs of rows that are rotated together are
 * neighbours. In Hugging Face's order the first rows of all pairs of a head come first. */
struct gguf_row_order {
    uint64_t head_rows; /* rows of a head, even; 0: the orders are the same */
};
/* The row in the file that is row `row` in Hugging Face's order. */
static inline uint64_t gguf_row_in_file(struct gguf_row_order o, uint64_t row)
{
    if (o.head_rows == 0)
        return row;
    uint64_t in_head = row % o.head_rows, half = o.head_rows / 2;
    return row - in_head + 2 * (in_head % half) + in_head / half;
}

#endif
