#include "weight_kind.h"

#include <stdio.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- shapes ---------------------------------------------------------------------------------- */

struct shape {
    bool exists;
    size_t rows, columns;
};

static struct shape text_weight_shape(const struct arch *a, enum weight_kind kind)
{
    size_t q = a->heads * a->head_dim, kv = a->kv_heads * a->head_dim;
    size_t d = a->hidden, f = a->intermediate;
    const struct shape table[WEIGHT_TEXT_END] = {
        [WEIGHT_Q] = {true, q, d},
        [WEIGHT_K] = {true, kv, d},
        [WEIGHT_V] = {true, kv, d},
        [WEIGHT_O] = {true, d, q},
        [WEIGHT_GATE] = {true, f, d},
        [WEIGHT_UP] = {true, f, d},
        [WEIGHT_DOWN] = {true, d, f},
        [WEIGHT_INPUT_NORM] = {true, d, 0},
        [WEIGHT_POST_ATTENTION_NORM] = {true, d, 0},
        [WEIGHT_Q_BIAS] = {a->qkv_bias, q, 0},
        [WEIGHT_K_BIAS] = {a->qkv_bias, kv, 0},
        [WEIGHT_V_BIAS] = {a->qkv_bias, kv, 0},
        [WEIGHT_O_BIAS] = {a->o_bias, d, 0},
        [WEIGHT_GATE_BIAS] = {a->mlp_bias, f, 0},
        [WEIGHT_UP_BIAS] = {a->mlp_bias, f, 0},
        [WEIGHT_DOWN_BIAS] = {a->mlp_bias, d, 0},
        [WEIGHT_Q_NORM] = {a->qk_norm, a->head_dim, 0},
        [WEIGHT_K_NORM] = {a->qk_norm, a->head_dim, 0},
        [WEIGHT_EMBEDDING] = {true, a->vocab, d},
        [WEIGHT_FINAL_NORM] = {true, d, 0},
        [WEIGHT_LM_HEAD] = {true, a->vocab, d},
    };
    return table[kind];
}

static struct shape vision_weight_shape(const struct arch *a, enum weight_kind kind)
{
    const struct vision_arch *v = &a->vision;
    bool internvl = v->kind == VISION_INTERNVL;
    size_t E = v->hidden, F = v->intermediate, c = arch_values_per_patch(v);
    size_t P = arch_values_per_feature(v), norm = internvl ? P : E;
    const struct shape table[WEIGHT_KINDS] = {
        [WEIGHT_PROJECTOR_NORM] = {true, norm, 0},
        [WEIGHT_PROJECTOR_NORM_BIAS] = {true, norm, 0},
        [WEIGHT_PROJECTOR_IN] = {true, v->projector_hidden, P},
        [WEIGHT_PROJECTOR_IN_BIAS] = {true, v->projector_hidden, 0},
        [WEIGHT_PROJECTOR_OUT] = {true, a->hidden, v->projector_hidden},
        [WEIGHT_PROJECTOR_OUT_BIAS] = {true, a->hidden, 0},
        [WEIGHT_VISION_NORM1] = {true, E, 0},
        [WEIGHT_VISION_NORM1_BIAS] = {!v->rms_norm, E, 0},
        [WEIGHT_VISION_Q] = {true, E, E},
        [WEIGHT_VISION_K] = {true, E, E},
        [WEIGHT_VISION_V] = {true, E, E},
        [WEIGHT_VISION_Q_BIAS] = {v->qkv_bias, E, 0},
        [WEIGHT_VISION_K_BIAS] = {v->qkv_bias, E, 0},
        [WEIGHT_VISION_V_BIAS] = {v->qkv_bias, E, 0},
        [WEIGHT_VISION_Q_NORM] = {v->qk_norm, E, 0},
        [WEIGHT_VISION_K_NORM] = {v->qk_norm, E, 0},
        [WEIGHT_VISION_O] = {true, E, E},
        [WEIGHT_VISION_O_BIAS] = {true, E, 0},
        [WEIGHT_VISION_LAYERSCALE1] = {internvl, E, 0},
        [WEIGHT_VISION_NORM2] = {true, E, 0},
        [WEIGHT_VISION_NORM2_BIAS] = {!v->rms_norm, E, 0},
        [WEIGHT_VISION_FC1] = {true, F, E},
        [WEIGHT_VISION_FC1_BIAS] = {true, F, 0},
        [WEIGHT_VISION_FC2] = {true, E, F},
        [WEIGHT_VISION_FC2_BIAS] = {true, E, 0},
        [WEIGHT_VISION_LAYERSCALE2] = {internvl, E, 0},
        [WEIGHT_VISION_PATCH_EMBEDDING] = {true, E, c},
        [WEIGHT_VISION_PATCH_EMBEDDING_BIAS] = {internvl, E, 0},
        [WEIGHT_VISION_CLASS_EMBEDDING] = {internvl, E, 0},
        [WEIGHT_VISION_POSITION_EMBEDDING] = {internvl, 1 + v->position_grid * v->position_grid, E},
        [WEIGHT_VISION_FINAL_NORM] = {v->final_norm, E, 0},
        [WEIGHT_VISION_FINAL_NORM_BIAS] = {v->final_norm, E, 0},
    };
    return v->kind == VISION_NONE ? (struct shape){false, 0, 0} : table[kind];
}

bool weight_kind_find_shape(const struct arch *a, enum weight_kind kind, size_t *rows,
                            size_t *columns)
{
    struct shape s =
        kind < WEIGHT_TEXT_END ? text_weight_shape(a, kind) : vision_weight_shape(a, kind);
    *rows = s.rows;
    *columns = s.columns;
    return s.exists;
}

size_t weight_kind_file_shape(const struct arch *a, enum weight_kind kind,
                              uint64_t shape[WEIGHT_KIND_MAX_RANK])
{
    const struct vision_arch *v = &a->vision;
    size_t rows, columns, n = 0;
    weight_kind_find_shape(a, kind, &rows, &columns);
    if (kind == WEIGHT_VISION_CLASS_EMBEDDING || kind == WEIGHT_VISION_POSITION_EMBEDDING)
        shape[n++] = 1;
    if (kind == WEIGHT_VISION_CLASS_EMBEDDING)
        shape[n++] = 1;
    shape[n++] = rows;
    if (kind == WEIGHT_VISION_PATCH_EMBEDDING) {
        shape[n++] = v->channels;
        if (v->kind == VISION_QWEN2VL) /* a convolution in time, too */
            shape[n++] = v->temporal_patch_size;
        shape[n++] = v->patch_size;
        shape[n++] = v->patch_size;
    } else if (columns) {
        shape[n++] = columns;
    }
    return n;
}

size_t weight_kind_elements(const struct arch *a, enum weight_kind kind)
{
    size_t rows, columns;
    return weight_kind_find_shape(a, kind, &rows, &columns) ? rows * (columns ? columns : 1) : 0;
}

static size_t range_elements(const struct arch *a, struct weight_range range)
{
    size_t n = 0;
    for (enum weight_kind kind = range.first; kind < range.end; kind++)
        n += weight_kind_elements(a, kind);
    return n;
}

size_t weight_kind_largest_range(const struct arch *a)
{
    const struct weight_range ranges[] = {WEIGHT_RANGE_DECODER_LAYER, WEIGHT_RANGE_PROJECTOR,
                                          WEIGHT_RANGE_VISION_LAYER,
                                          WEIGHT_RANGE_VISION_OUTSIDE_LAYERS};
    size_t max = 0;
    for (size_t i = 0; i < COUNT(ranges); i++) {
        size_t n = range_elements(a, ranges[i]);
        max = n > max ? n : max;
    }
    return max;
}

/* ---- layers ---------------------------------------------------------------------------------- */

size_t weight_kind_layers(const struct arch *a, enum weight_kind kind)
{
    if (kind < WEIGHT_DECODER_LAYER_END)
        return a->layers;
    return kind >= WEIGHT_VISION_NORM1 && kind < WEIGHT_VISION_LAYER_END ? a->vision.layers : 1;
}

size_t weight_kind_index(const struct arch *a, enum weight_kind kind, size_t layer)
{
    const size_t per_decoder_layer = WEIGHT_DECODER_LAYER_END;
    const size_t per_vision_layer = WEIGHT_VISION_LAYER_END - WEIGHT_VISION_NORM1;
    const size_t outside = WEIGHT_VISION_NORM1 - WEIGHT_DECODER_LAYER_END;
    size_t decoder = a->layers * per_decoder_layer;
    if (kind < WEIGHT_DECODER_LAYER_END)
        return layer * per_decoder_layer + kind;
    if (kind < WEIGHT_VISION_NORM1)
        return decoder + kind - WEIGHT_DECODER_LAYER_END;
    if (kind < WEIGHT_VISION_LAYER_END)
        return decoder + outside + layer * per_vision_layer + kind - WEIGHT_VISION_NORM1;
    return decoder + outside + a->vision.layers * per_vision_layer + kind - WEIGHT_VISION_LAYER_END;
}

size_t weight_kind_index_count(const struct arch *a)
{
    return weight_kind_index(a, WEIGHT_KINDS, 0);
}

/* ---- names ----------------------------------------------------------------------------------- */

/* Canonical names, without the prefix of a layer. */
static const char *const names[WEIGHT_KINDS] = {
    [WEIGHT_Q] = "self_attn.q_proj.weight",
    [WEIGHT_K] = "self_attn.k_proj.weight",
    [WEIGHT_V] = "self_attn.v_proj.weight",
    [WEIGHT_O] = "self_attn.o_proj.weight",
    [WEIGHT_GATE] = "mlp.gate_proj.weight",
    [WEIGHT_UP] = "mlp.up_proj.weight",
    [WEIGHT_DOWN] = "mlp.down_proj.weight",
    [WEIGHT_INPUT_NORM] = "input_layernorm.weight",
    [WEIGHT_POST_ATTENTION_NORM] = "post_attention_layernorm.weight",
    [WEIGHT_Q_BIAS] = "self_attn.q_proj.bias",
    [WEIGHT_K_BIAS] = "self_attn.k_proj.bias",
    [WEIGHT_V_BIAS] = "self_attn.v_proj.bias",
    [WEIGHT_O_BIAS] = "self_attn.o_proj.bias",
    [WEIGHT_GATE_BIAS] = "mlp.gate_proj.bias",
    [WEIGHT_UP_BIAS] = "mlp.up_proj.bias",
    [WEIGHT_DOWN_BIAS] = "mlp.down_proj.bias",
    [WEIGHT_Q_NORM] = "self_attn.q_norm.weight",
    [WEIGHT_K_NORM] = "self_attn.k_norm.weight",
    [WEIGHT_EMBEDDING] = "text.embed_tokens.weight",
    [WEIGHT_FINAL_NORM] = "text.norm.weight",
    [WEIGHT_LM_HEAD] = "head.weight",
    [WEIGHT_PROJECTOR_NORM] = "projector.norm.weight",
    [WEIGHT_PROJECTOR_NORM_BIAS] = "projector.norm.bias",
    [WEIGHT_PROJECTOR_IN] = "projector.in.weight",
    [WEIGHT_PROJECTOR_IN_BIAS] = "projector.in.bias",
    [WEIGHT_PROJECTOR_OUT] = "projector.out.weight",
    [WEIGHT_PROJECTOR_OUT_BIAS] = "projector.out.bias",
    [WEIGHT_VISION_NORM1] = "norm1.weight",
    [WEIGHT_VISION_NORM1_BIAS] = "norm1.bias",
    [WEIGHT_VISION_Q] = "attn.q_proj.weight",
    [WEIGHT_VISION_K] = "attn.k_proj.weight",
    [WEIGHT_VISION_V] = "attn.v_proj.weight",
    [WEIGHT_VISION_Q_BIAS] = "attn.q_proj.bias",
    [WEIGHT_VISION_K_BIAS] = "attn.k_proj.bias",
    [WEIGHT_VISION_V_BIAS] = "attn.v_proj.bias",
    [WEIGHT_VISION_Q_NORM] = "attn.q_norm.weight",
    [WEIGHT_VISION_K_NORM] = "attn.k_norm.weight",
    [WEIGHT_VISION_O] = "attn.proj.weight",
    [WEIGHT_VISION_O_BIAS] = "attn.proj.bias",
    [WEIGHT_VISION_LAYERSCALE1] = "ls1",
    [WEIGHT_VISION_NORM2] = "norm2.weight",
    [WEIGHT_VISION_NORM2_BIAS] = "norm2.bias",
    [WEIGHT_VISION_FC1] = "mlp.fc1.weight",
    [WEIGHT_VISION_FC1_BIAS] = "mlp.fc1.bias",
    [WEIGHT_VISION_FC2] = "mlp.fc2.weight",
    [WEIGHT_VISION_FC2_BIAS] = "mlp.fc2.bias",
    [WEIGHT_VISION_LAYERSCALE2] = "ls2",
    [WEIGHT_VISION_PATCH_EMBEDDING] = "vision.patch.weight",
    [WEIGHT_VISION_PATCH_EMBEDDING_BIAS] = "vision.patch.bias",
    [WEIGHT_VISION_CLASS_EMBEDDING] = "vision.class",
    [WEIGHT_VISION_POSITION_EMBEDDING] = "vision.position",
    [WEIGHT_VISION_FINAL_NORM] = "vision.norm.weight",
    [WEIGHT_VISION_FINAL_NORM_BIAS] = "vision.norm.bias",
};

const char *weight_kind_name(enum weight_kind kind, size_t layer, char *name)
{
    if (kind < WEIGHT_DECODER_LAYER_END)
        snprintf(name, WEIGHT_KIND_NAME_SIZE, "text.layers.%zu.%s", layer, names[kind]);
    else if (kind >= WEIGHT_VISION_NORM1 && kind < WEIGHT_VISION_LAYER_END)
        snprintf(name, WEIGHT_KIND_NAME_SIZE, "vision.layers.%zu.%s", layer, names[kind]);
    else
        snprintf(name, WEIGHT_KIND_NAME_SIZE, "%s", names[kind]);
    return name;
}
