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
enum rope_type { ROPE_DEFAULT, ROPE_LINEAR, ROPE_DYNAMIC, ROPE_LLAMA3, ROPE_YARN };

struct rope_parameters {
    enum rope_type type;
    double theta;
    double factor;
    double original_positions; /* positions that the model was trained on: dynamic, llama3, yarn */
    double low_freq_factor, high_freq_factor; /* llama3: frequency factors */
    double beta_fast, beta_slow;              /* yarn: rotations between which it ramps */
    double attention_factor;                  /* yarn: multiplies cos and sin */
    bool truncate;                            /* yarn: the ramp's ends are whole numbers */
    size_t mrope_section[3]; /* M-RoPE: how many of the D/2 frequencies take their position from
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
    size_t layers_used; /* layers that images pass: what lies above the selected state is not */
    size_t channels, patch, temporal; /* temporal: frames of a patch, 1 for InternVL */
    size_t merge;                     /* merge x merge patches become one token */
    size_t position_grid; /* InternVL: patches along an image that the table of positions is made
                             for */
    float eps;            /* of layer norms */
    float qk_eps;         /* of q_norm and k_norm */
    float projector_eps;
    bool qkv_bias, qk_norm;
    bool rms_norm;   /* the norms of the layers have no mean and no bias */
    bool final_norm; /* a norm behind the last layer, which counts where that is the selected one */
    bool shuffle_transposed;    /* pixel shuffle v1: the tokens of a tile go by columns */
    enum activation activation; /* of the tower's layers; the projector's is GELU */
    size_t projector_hidden;
    long image_token_id; /* -1: the config does not say it */
};

struct arch {
    const char *architecture; /* "mistral", "llama", "qwen2", "qwen2_vl", "internvl" */
    size_t layers, hidden, intermediate, heads, kv_heads, head_dim, vocab;
    size_t max_positions; /* the longest sequence that it is made for */
    float eps;
    bool qkv_bias, o_bias, mlp_bias;
    bool tied_embeddings;    /* the embedding is the head, where the file has no head */
    size_t *sliding_windows; /* [layer]: how many positions a token sees, itself counted; 0: all */
    struct rope_parameters rope;
    struct vision_arch vision;
};

/* The tensors of a model: those of a decoder layer, those outside the layers, the projector's,
 * those of a layer of the vision tower, and the tower's others. q, k and v are parts of their own
 * also where a file has them in one tensor. */
enum weight_kind {
    WEIGHT_Q,
    WEIGHT_K,
    WEIGHT_V,
    WEIGHT_O,
    WEIGHT_GATE,
    WEIGHT_UP,
    WEIGHT_DOWN,
    WEIGHT_INPUT_NORM,
    WEIGHT_POST_ATTENTION_NORM, /* behind the attention */
    WEIGHT_Q_BIAS,
    WEIGHT_K_BIAS,
    WEIGHT_V_BIAS,
    WEIGHT_O_BIAS,
    WEIGHT_GATE_BIAS,
    WEIGHT_UP_BIAS,
    WEIGHT_DOWN_BIAS,
    WEIGHT_DECODER_LAYER_END,
    WEIGHT_EMBEDDING = WEIGHT_DECODER_LAYER_END,
    WEIGHT_FINAL_NORM,
    WEIGHT_LM_HEAD,
    WEIGHT_TEXT_END,

    WEIGHT_PROJECTOR_NORM = WEIGHT_TEXT_END,
    WEIGHT_PROJECTOR_NORM_BIAS,
    WEIGHT_PROJECTOR_IN, /* the first of the two linear maps */
    WEIGHT_PROJECTOR_IN_BIAS,
    WEIGHT_PROJECTOR_OUT,
    WEIGHT_PROJECTOR_OUT_BIAS,
    WEIGHT_PROJECTOR_END,

    WEIGHT_VISION_NORM1 = WEIGHT_PROJECTOR_END,
    WEIGHT_VISION_NORM1_BIAS,
    WEIGHT_VISION_Q,
    WEIGHT_VISION_K,
    WEIGHT_VISION_V,
    WEIGHT_VISION_Q_BIAS,
    WEIGHT_VISION_K_BIAS,
    WEIGHT_VISION_V_BIAS,
    WEIGHT_VISION_Q_NORM,
    WEIGHT_VISION_K_NORM,
    WEIGHT_VISION_O,
    WEIGHT_VISION_O_BIAS,
    WEIGHT_VISION_LAYERSCALE1, /* InternVL: multiplies what the attention adds */
    WEIGHT_VISION_NORM2,
    WEIGHT_VISION_NORM2_BIAS,
    WEIGHT_VISION_FC1,
    WEIGHT_VISION_FC1_BIAS,
    WEIGHT_VISION_FC2,
    WEIGHT_VISION_FC2_BIAS,
    WEIGHT_VISION_LAYERSCALE2,
    WEIGHT_VISION_LAYER_END,

    WEIGHT_VISION_PATCH_EMBEDDING = WEIGHT_VISION_LAYER_END, /* (E, c) */
    WEIGHT_VISION_PATCH_EMBEDDING_BIAS,
    WEIGHT_VISION_CLASS_EMBEDDING,    /* (E) */
    WEIGHT_VISION_POSITION_EMBEDDING, /* (1 + side^2, E) */
    WEIGHT_VISION_FINAL_NORM,
    WEIGHT_VISION_FINAL_NORM_BIAS,
    WEIGHT_KINDS
};

#define WEIGHT_KIND_MAX_RANK 5 /* dimensions of a part in a file, at most */

/* Parts that are computed with together. */
struct weight_range {
    enum weight_kind first, end;
};
#define WEIGHT_RANGE_DECODER_LAYER ((struct weight_range){WEIGHT_Q, WEIGHT_DECODER_LAYER_END})
#define WEIGHT_RANGE_PROJECTOR     ((struct weight_range){WEIGHT_PROJECTOR_NORM, WEIGHT_PROJECTOR_END})
#define WEIGHT_RANGE_VISION_LAYER                                                                  \
    ((struct weight_range){WEIGHT_VISION_NORM1, WEIGHT_VISION_LAYER_END})
#define WEIGHT_RANGE_VISION_OUTSIDE_LAYERS                                                         \
    ((struct weight_range){WEIGHT_VISION_PATCH_EMBEDDING, WEIGHT_KINDS}) /* outside the layers */

/* Reads config.json, `size` bytes of text that sentences call `file`, in the layouts of
 * transformers 4 and 5. Refuses architectures, activations and scalings that are not known.
 * `twice`: some key stands there twice, and the last one was taken. After a failure there is
 * nothing to free. */
int arch_config_read(struct arch *a, const char *file, const char *text, size_t size, bool *twice,
                     struct error *e);
void arch_free(struct arch *a);

/* Does a model of this kind have the part, and of what shape? `columns` is 0 for a vector. */
bool weight_kind_shape(const struct arch *a, enum weight_kind part, size_t *rows, size_t *columns);
/* Its shape in files, and its rank: WEIGHT_VISION_PATCH_EMBEDDING is a convolution,
 * WEIGHT_VISION_CLASS_EMBEDDING and WEIGHT_VISION_POSITION_EMBEDDING have leading ones. */
size_t weight_kind_file_shape(const struct arch *a, enum weight_kind part,
                              uint64_t shape[WEIGHT_KIND_MAX_RANK]);
/* Its elements; 0: there is no such part. */
size_t weight_kind_elements(const struct arch *a, enum weight_kind part);
/* The most elements that any parts of a layer which are computed with together have. */
size_t weight_kind_largest_range(const struct arch *a);
/* Layers in which it occurs: 1 for what is outside the layers. */
size_t weight_kind_layers(const struct arch *a, enum weight_kind part);
/* A number for every part of every layer, below weight_kind_index_count. */
size_t weight_kind_index(const struct arch *a, enum weight_kind part, size_t layer);
size_t weight_kind_index_count(const struct arch *a);
/* Its plain name (name_scheme.h), "text.layers.3.self_attn.q_proj.weight", into a buffer of 96
 * bytes; `layer` counts for the parts of a layer. */
const char *weight_kind_name(enum weight_kind part, size_t layer, char *name);

#endif
