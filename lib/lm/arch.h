/* The architecture of a language model or vision-language model: the sizes of its decoder, and of
 * its vision tower and projector if it has them. arch_config.h reads one from config.json. An arch
 * owns its arrays until arch_free.
 *
 * Letters in the comments of lib/lm:
 *
 *     N  tokens of a batch      T  tokens of one sequence    V  vocabulary    L  decoder layers
 *     d  hidden size            f  intermediate size         D  head_dim
 *     H  query heads            G  key and value heads
 *     E  hidden size of the vision tower                     F  its intermediate size
 *     c  values of an image patch: channels x temporal_patch_size x patch_size^2
 *     P  values of an image feature: merge_size^2 patches of E values become one token
 *
 * Weight matrices are stored as (out, in). */
#ifndef TV_ARCH_H
#define TV_ARCH_H

#include <stdbool.h>
#include <stddef.h>

/* How rotary position embeddings are scaled to long sequences (rope.h). */
enum rope_type { ROPE_DEFAULT, ROPE_LINEAR, ROPE_DYNAMIC, ROPE_LLAMA3, ROPE_YARN };

/* RoPE's base and scaling. Fields of another type are not set. */
struct rope_parameters {
    enum rope_type type;
    double theta;
    double factor;
    double original_positions;                /* dynamic, llama3, yarn: positions of pretraining */
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn: rotations where its ramp begins and ends */
    double attention_factor;                  /* yarn: multiplies cos and sin */
    bool truncate;                            /* yarn: the ramp's ends are whole numbers */
    size_t mrope_section[3]; /* M-RoPE: how many of the D/2 frequencies follow the position in
                                time, height and width; all 0: a token has one position */
};

/* The model has no vision tower, or that of Qwen2-VL or of InternVL 2.5 and 3. */
enum vision_kind { VISION_NONE, VISION_QWEN2VL, VISION_INTERNVL };

enum activation { ACTIVATION_GELU, ACTIVATION_QUICK_GELU };

/* A vision tower and its projector. The projector is a layer norm, a linear map to
 * `projector_hidden` values, GELU, and a linear map to d values; its norm is over E (Qwen2-VL) or P
 * (InternVL) values. */
struct vision_arch {
    enum vision_kind kind;
    size_t layers, hidden, intermediate, heads;
    size_t layers_used; /* the layers below the selected hidden state; those above are not run */
    size_t channels, patch_size;
    size_t temporal_patch_size; /* frames of a patch; 1 for InternVL */
    size_t merge_size;          /* merge_size x merge_size patches become one token */
    size_t position_grid;       /* InternVL: side of the position table's grid, in patches */
    float eps;                  /* of the layer norms */
    float qk_eps;               /* of q_norm and k_norm */
    float projector_eps;
    bool qkv_bias, qk_norm;
    bool rms_norm;              /* the layers use RMSNorm: no mean, no bias */
    bool final_norm;            /* a norm follows the last layer; run if that layer is selected */
    bool shuffle_transposed;    /* pixel shuffle v1: a tile's tokens are ordered by columns */
    enum activation activation; /* of the tower's layers; the projector's is GELU */
    size_t projector_hidden;
    long image_token_id; /* -1: config.json does not give it */
};

struct arch {
    const char *architecture; /* "mistral", "llama", "qwen2", "qwen3", "qwen2_vl", "internvl" */
    size_t layers, hidden, intermediate, heads, kv_heads, head_dim, vocab;
    size_t max_positions; /* tokens of the longest sequence */
    float eps;            /* of RMSNorm */
    bool qkv_bias, o_bias, mlp_bias;
    bool qk_norm;            /* RMSNorm of each head's query and key, before RoPE */
    bool tied_embeddings;    /* without an LM head in the file, the embedding is used */
    size_t *sliding_windows; /* [layer]: positions that a token attends to, its own included;
                                0: all up to its own */
    struct rope_parameters rope;
    struct vision_arch vision;
};

void arch_free(struct arch *a);

/* c, the values of one image patch. */
size_t arch_values_per_patch(const struct vision_arch *v);
/* P, the values of one image feature. */
size_t arch_values_per_feature(const struct vision_arch *v);

#endif
