/* What config.json says about a language model: the sizes of its decoder, and of the vision tower
 * and projector where it sees images, and which parts it has. An arch owns what it points to until
 * arch_free.
 *
 * Letters in the comments of the files that compute with it: T tokens, d hidden size, H query
 * heads, G key and value heads, D head_dim, f intermediate size, V vocabulary, L layers. Weights
 * are stored as (out, in). */
#ifndef TV_ARCH_H
#define TV_ARCH_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
    size_t sections[3];      /* M-RoPE: how many of the D/2 frequencies take their position from
                                time, height and width; all 0: there is but one position */
};

/* What sees the images: nothing, or the vision tower of Qwen2-VL or of InternVL 2.5 and 3. */
enum vision_kind { VISION_NONE, VISION_QWEN2VL, VISION_INTERNVL };

enum activation { ACTIVATION_GELU, ACTIVATION_QUICK_GELU };

/* Letters: E hidden size of the tower, F its intermediate size, c = channels temporal patch^2
 * numbers of a patch, p = merge^2 patches that become one token, P = p E. The projector is
 * layernorm, linear to `projector` numbers, GELU, linear to d; its norm is over E (Qwen2-VL) or
 * P (InternVL). */
struct vision_arch {
    enum vision_kind kind;
    size_t layers, hidden, intermediate, heads;
    size_t used; /* layers that images pass: what lies above the selected state is not */
    size_t channels, patch, temporal; /* temporal: frames of a patch, 1 for InternVL */
    size_t merge;                     /* merge x merge patches become one token */
    size_t side;  /* InternVL: patches along an image that the table of positions is made for */
    float eps;    /* of layer norms */
    float qk_eps; /* of q_norm and k_norm */
    float projector_eps;
    bool qkv_bias, qk_norm;
    bool rms;        /* the norms of the layers have no mean and no bias */
    bool last_norm;  /* a norm behind the last layer, which counts where that is the selected one */
    bool transposed; /* pixel shuffle v1: the tokens of a tile go by columns */
    enum activation activation; /* of the tower's layers; the projector's is GELU */
    size_t projector;
    long image_token; /* -1: the config does not say it */
};

struct arch {
    const char *family; /* "mistral", "llama", "qwen2", "qwen2_vl", "internvl" */
    size_t layers, hidden, intermediate, heads, kv_heads, head_dim, vocab;
    size_t positions; /* the longest sequence that it is made for */
    float eps;
    bool qkv_bias, o_bias, mlp_bias;
    bool tied;       /* the embedding is the head, where the file has no head */
    size_t *windows; /* [layer]: how many positions a token sees, itself counted; 0: all */
    struct rope_recipe rope;
    struct vision_arch vision;
};

/* The tensors of a model: those of a decoder layer, those outside the layers, the projector's,
 * those of a layer of the vision tower, and the tower's others. q, k and v are parts of their own
 * also where a file has them in one tensor. */
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
    TEXT_PARTS,

    PROJECTOR_NORM = TEXT_PARTS,
    PROJECTOR_NORM_BIAS,
    PROJECTOR_IN, /* the first of the two linear maps */
    PROJECTOR_IN_BIAS,
    PROJECTOR_OUT,
    PROJECTOR_OUT_BIAS,
    PROJECTOR_END,

    VISION_NORM1 = PROJECTOR_END,
    VISION_NORM1_BIAS,
    VISION_Q,
    VISION_K,
    VISION_V,
    VISION_Q_BIAS,
    VISION_K_BIAS,
    VISION_V_BIAS,
    VISION_Q_NORM,
    VISION_K_NORM,
    VISION_O,
    VISION_O_BIAS,
    VISION_SCALE1, /* InternVL: multiplies what the attention adds */
    VISION_NORM2,
    VISION_NORM2_BIAS,
    VISION_UP,
    VISION_UP_BIAS,
    VISION_DOWN,
    VISION_DOWN_BIAS,
    VISION_SCALE2,
    VISION_LAYER_END,

    VISION_PATCH = VISION_LAYER_END, /* (E, c) */
    VISION_PATCH_BIAS,
    VISION_CLASS,    /* (E) */
    VISION_POSITION, /* (1 + side^2, E) */
    VISION_LAST_NORM,
    VISION_LAST_NORM_BIAS,
    PARTS
};

#define ARCH_RANK 5 /* dimensions of a part in a file, at most */

/* Parts that are computed with together. */
struct parts {
    enum part first, end;
};
#define PARTS_LAYER        ((struct parts){PART_Q, LAYER_PARTS})
#define PARTS_PROJECTOR    ((struct parts){PROJECTOR_NORM, PROJECTOR_END})
#define PARTS_VISION_LAYER ((struct parts){VISION_NORM1, VISION_LAYER_END})
#define PARTS_VISION       ((struct parts){VISION_PATCH, PARTS}) /* outside the layers */

/* Reads config.json, `size` bytes of text that sentences call `file`, in the layouts of
 * transformers 4 and 5. Refuses architectures, activations and scalings that are not known.
 * `twice`: some key stands there twice, and the last one was taken. After a failure there is
 * nothing to free. */
int arch_read(struct arch *a, const char *file, const char *text, size_t size, bool *twice,
              struct error *e);
void arch_free(struct arch *a);

/* Does a model of this kind have the part, and of what shape? `columns` is 0 for a vector. */
bool arch_part(const struct arch *a, enum part part, size_t *rows, size_t *columns);
/* Its shape in files, and its rank: VISION_PATCH is a convolution, VISION_CLASS and VISION_POSITION
 * have leading ones. */
size_t arch_part_shape(const struct arch *a, enum part part, uint64_t shape[ARCH_RANK]);
/* Its elements; 0: there is no such part. */
size_t arch_part_elements(const struct arch *a, enum part part);
/* The most elements that any parts of a layer which are computed with together have. */
size_t arch_parts_most(const struct arch *a);
/* Layers in which it occurs: 1 for what is outside the layers. */
size_t arch_part_layers(const struct arch *a, enum part part);
/* A number for every part of every layer, below arch_slots. */
size_t arch_slot(const struct arch *a, enum part part, size_t layer);
size_t arch_slots(const struct arch *a);
/* Its plain name (name_scheme.h), "text.layers.3.self_attn.q_proj.weight", into a buffer of 96
 * bytes; `layer` counts for the parts of a layer. */
const char *arch_part_name(enum part part, size_t layer, char *name);

#endif
