/* What config.json says about the decoder of a language model: its sizes, and which parts it has.
 * An arch owns what it points to until arch_free.
 *
 * Letters in the comments of the files that compute with it: T tokens, d hidden size, H query
 * heads, G key and value heads, D head_dim, f intermediate size, V vocabulary, L layers. Weights
 * are stored as (out, in). */
#ifndef TV_ARCH_H
#define TV_ARCH_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>

/* How positions turn into angles (rope.h). What a kind does not use is not set. */
enum rope_kind { ROPE_DEFAULT, ROPE_LINEAR, ROPE_DYNAMIC, ROPE_LLAMA3, ROPE_YARN };

struct rope_recipe {
    enum rope_kind kind;
    double theta;
    double factor;
    double original;         /* positions that the model was trained on: dynamic, llama3, yarn */
    double low, high;        /* llama3: frequency factors */
    double fast, slow;       /* yarn: rotations between which it ramps */
    double attention_factor; /* yarn: multiplies cos and sin */
    bool truncate;           /* yarn: the ramp's ends are whole numbers */
};

struct arch {
    const char *family; /* "mistral", "llama", "qwen2" */
    size_t layers, hidden, intermediate, heads, kv_heads, head_dim, vocab;
    size_t positions; /* the longest sequence that it is made for */
    float eps;
    bool qkv_bias, o_bias, mlp_bias;
    bool tied;       /* the embedding is the head, where the file has no head */
    size_t *windows; /* [layer]: how many positions a token sees, itself counted; 0: all */
    struct rope_recipe rope;
};

/* The tensors of a model: those of a layer, then those outside the layers. */
enum part {
    PART_Q,
    PART_K,
    PART_V,
    PART_O,
    PART_GATE,
    PART_UP,
    PART_DOWN,
    PART_INPUT_NORM,
    PART_POST_NORM, /* behind the attention */
    PART_Q_BIAS,
    PART_K_BIAS,
    PART_V_BIAS,
    PART_O_BIAS,
    PART_GATE_BIAS,
    PART_UP_BIAS,
    PART_DOWN_BIAS,
    LAYER_PARTS,
    PART_EMBEDDING = LAYER_PARTS,
    PART_NORM,
    PART_HEAD,
    PARTS
};

/* Reads config.json, `size` bytes of text that sentences call `file`, in the layouts of
 * transformers 4 and 5. Refuses architectures, activations and scalings that are not known.
 * `twice`: some key stands there twice, and the last one was taken. After a failure there is
 * nothing to free. */
int arch_read(struct arch *a, const char *file, const char *text, size_t size, bool *twice,
              struct error *e);
void arch_free(struct arch *a);

/* Does a model of this kind have the part, and of what shape? `columns` is 0 for a vector. */
bool arch_part(const struct arch *a, enum part part, size_t *rows, size_t *columns);
/* "model.layers.3.self_attn.q_proj.weight", into a buffer of 96 bytes; `layer` counts for the
 * parts of a layer. */
const char *arch_part_name(enum part part, size_t layer, char *name);

#endif
