#include "arch.h"

#include <stdio.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- parts ----------------------------------------------------------------------------------- */

struct shape {
    bool there;
    size_t rows, columns;
};

static struct shape text_shape(const struct arch *a, enum part part)
{
    size_t q = a->heads * a->head_dim, kv = a->kv_heads * a->head_dim;
    size_t d = a->hidden, f = a->intermediate;
    const struct shape table[TEXT_PARTS] = {
        [PART_Q] = {true, q, d},
        [PART_K] = {true, kv, d},
        [PART_V] = {true, kv, d},
        [PART_O] = {true, d, q},
        [PART_GATE] = {true, f, d},
        [PART_UP] = {true, f, d},
        [PART_DOWN] = {true, d, f},
        [PART_INPUT_NORM] = {true, d, 0},
        [PART_POST_NORM] = {true, d, 0},
        [PART_Q_BIAS] = {a->qkv_bias, q, 0},
        [PART_K_BIAS] = {a->qkv_bias, kv, 0},
        [PART_V_BIAS] = {a->qkv_bias, kv, 0},
        [PART_O_BIAS] = {a->o_bias, d, 0},
        [PART_GATE_BIAS] = {a->mlp_bias, f, 0},
        [PART_UP_BIAS] = {a->mlp_bias, f, 0},
        [PART_DOWN_BIAS] = {a->mlp_bias, d, 0},
        [PART_EMBEDDING] = {true, a->vocab, d},
        [PART_NORM] = {true, d, 0},
        [PART_HEAD] = {true, a->vocab, d},
    };
    return table[part];
}

static struct shape vision_shape(const struct arch *a, enum part part)
{
    const struct vision_arch *v = &a->vision;
    bool intern = v->kind == VISION_INTERNVL;
    size_t E = v->hidden, F = v->intermediate, merged = v->merge * v->merge * E;
    size_t c = v->channels * v->temporal * v->patch * v->patch, norm = intern ? merged : E;
    const struct shape table[PARTS] = {
        [PROJECTOR_NORM] = {true, norm, 0},
        [PROJECTOR_NORM_BIAS] = {true, norm, 0},
        [PROJECTOR_IN] = {true, v->projector, merged},
        [PROJECTOR_IN_BIAS] = {true, v->projector, 0},
        [PROJECTOR_OUT] = {true, a->hidden, v->projector},
        [PROJECTOR_OUT_BIAS] = {true, a->hidden, 0},
        [VISION_NORM1] = {true, E, 0},
        [VISION_NORM1_BIAS] = {!v->rms, E, 0},
        [VISION_Q] = {true, E, E},
        [VISION_K] = {true, E, E},
        [VISION_V] = {true, E, E},
        [VISION_Q_BIAS] = {v->qkv_bias, E, 0},
        [VISION_K_BIAS] = {v->qkv_bias, E, 0},
        [VISION_V_BIAS] = {v->qkv_bias, E, 0},
        [VISION_Q_NORM] = {v->qk_norm, E, 0},
        [VISION_K_NORM] = {v->qk_norm, E, 0},
        [VISION_O] = {true, E, E},
        [VISION_O_BIAS] = {true, E, 0},
        [VISION_SCALE1] = {intern, E, 0},
        [VISION_NORM2] = {true, E, 0},
        [VISION_NORM2_BIAS] = {!v->rms, E, 0},
        [VISION_UP] = {true, F, E},
        [VISION_UP_BIAS] = {true, F, 0},
        [VISION_DOWN] = {true, E, F},
        [VISION_DOWN_BIAS] = {true, E, 0},
        [VISION_SCALE2] = {intern, E, 0},
        [VISION_PATCH] = {true, E, c},
        [VISION_PATCH_BIAS] = {intern, E, 0},
        [VISION_CLASS] = {intern, E, 0},
        [VISION_POSITION] = {intern, 1 + v->side * v->side, E},
        [VISION_LAST_NORM] = {v->last_norm, E, 0},
        [VISION_LAST_NORM_BIAS] = {v->last_norm, E, 0},
    };
    return v->kind == VISION_NONE ? (struct shape){false, 0, 0} : table[part];
}

bool arch_part(const struct arch *a, enum part part, size_t *rows, size_t *columns)
{
    struct shape s = part < TEXT_PARTS ? text_shape(a, part) : vision_shape(a, part);
    *rows = s.rows;
    *columns = s.columns;
    return s.there;
}

size_t arch_part_shape(const struct arch *a, enum part part, uint64_t shape[ARCH_RANK])
{
    const struct vision_arch *v = &a->vision;
    size_t rows, columns, n = 0;
    arch_part(a, part, &rows, &columns);
    for (size_t ones = part == VISION_CLASS ? 2 : part == VISION_POSITION; n < ones;)
        shape[n++] = 1;
    shape[n++] = rows;
    if (part == VISION_PATCH) {
        const size_t conv[] = {v->channels, v->temporal, v->patch, v->patch};
        for (size_t i = 0; i < COUNT(conv); i++)
            if (i != 1 || v->kind == VISION_QWEN2VL)
                shape[n++] = conv[i];
    } else if (columns) {
        shape[n++] = columns;
    }
    return n;
}

size_t arch_part_elements(const struct arch *a, enum part part)
{
    size_t rows, columns;
    return arch_part(a, part, &rows, &columns) ? rows * (columns ? columns : 1) : 0;
}

/* Elements of some parts of one layer together. */
static size_t elements_of(const struct arch *a, struct parts parts)
{
    size_t n = 0;
    for (enum part part = parts.first; part < parts.end; part++)
        n += arch_part_elements(a, part);
    return n;
}

size_t arch_parts_most(const struct arch *a)
{
    const struct parts all[] = {PARTS_LAYER, PARTS_PROJECTOR, PARTS_VISION_LAYER, PARTS_VISION};
    size_t most = 0;
    for (size_t i = 0; i < COUNT(all); i++) {
        size_t n = elements_of(a, all[i]);
        most = n > most ? n : most;
    }
    return most;
}

size_t arch_part_layers(const struct arch *a, enum part part)
{
    if (part < LAYER_PARTS)
        return a->layers;
    return part >= VISION_NORM1 && part < VISION_LAYER_END ? a->vision.layers : 1;
}

size_t arch_slot(const struct arch *a, enum part part, size_t layer)
{
    size_t text = a->layers * LAYER_PARTS, outside = VISION_NORM1 - LAYER_PARTS;
    size_t vision = VISION_LAYER_END - VISION_NORM1;
    if (part < LAYER_PARTS)
        return layer * LAYER_PARTS + part;
    if (part < VISION_NORM1)
        return text + part - LAYER_PARTS;
    if (part < VISION_LAYER_END)
        return text + outside + layer * vision + part - VISION_NORM1;
    return text + outside + a->vision.layers * vision + part - VISION_LAYER_END;
}

size_t arch_slots(const struct arch *a)
{
    return arch_slot(a, PARTS, 0);
}

const char *arch_part_name(enum part part, size_t layer, char *name)
{
    static const char *const names[PARTS] = {
        [PART_Q] = "self_attn.q_proj.weight",
        [PART_K] = "self_attn.k_proj.weight",
        [PART_V] = "self_attn.v_proj.weight",
        [PART_O] = "self_attn.o_proj.weight",
        [PART_GATE] = "mlp.gate_proj.weight",
        [PART_UP] = "mlp.up_proj.weight",
        [PART_DOWN] = "mlp.down_proj.weight",
        [PART_INPUT_NORM] = "input_layernorm.weight",
        [PART_POST_NORM] = "post_attention_layernorm.weight",
        [PART_Q_BIAS] = "self_attn.q_proj.bias",
        [PART_K_BIAS] = "self_attn.k_proj.bias",
        [PART_V_BIAS] = "self_attn.v_proj.bias",
        [PART_O_BIAS] = "self_attn.o_proj.bias",
        [PART_GATE_BIAS] = "mlp.gate_proj.bias",
        [PART_UP_BIAS] = "mlp.up_proj.bias",
        [PART_DOWN_BIAS] = "mlp.down_proj.bias",
        [PART_EMBEDDING] = "text.embed_tokens.weight",
        [PART_NORM] = "text.norm.weight",
        [PART_HEAD] = "head.weight",
        [PROJECTOR_NORM] = "projector.norm.weight",
        [PROJECTOR_NORM_BIAS] = "projector.norm.bias",
        [PROJECTOR_IN] = "projector.in.weight",
        [PROJECTOR_IN_BIAS] = "projector.in.bias",
        [PROJECTOR_OUT] = "projector.out.weight",
        [PROJECTOR_OUT_BIAS] = "projector.out.bias",
        [VISION_NORM1] = "norm1.weight",
        [VISION_NORM1_BIAS] = "norm1.bias",
        [VISION_Q] = "attn.q_proj.weight",
        [VISION_K] = "attn.k_proj.weight",
        [VISION_V] = "attn.v_proj.weight",
        [VISION_Q_BIAS] = "attn.q_proj.bias",
        [VISION_K_BIAS] = "attn.k_proj.bias",
        [VISION_V_BIAS] = "attn.v_proj.bias",
        [VISION_Q_NORM] = "attn.q_norm.weight",
        [VISION_K_NORM] = "attn.k_norm.weight",
        [VISION_O] = "attn.proj.weight",
        [VISION_O_BIAS] = "attn.proj.bias",
        [VISION_SCALE1] = "ls1",
        [VISION_NORM2] = "norm2.weight",
        [VISION_NORM2_BIAS] = "norm2.bias",
        [VISION_UP] = "mlp.fc1.weight",
        [VISION_UP_BIAS] = "mlp.fc1.bias",
        [VISION_DOWN] = "mlp.fc2.weight",
        [VISION_DOWN_BIAS] = "mlp.fc2.bias",
        [VISION_SCALE2] = "ls2",
        [VISION_PATCH] = "vision.patch.weight",
        [VISION_PATCH_BIAS] = "vision.patch.bias",
        [VISION_CLASS] = "vision.class",
        [VISION_POSITION] = "vision.position",
        [VISION_LAST_NORM] = "vision.norm.weight",
        [VISION_LAST_NORM_BIAS] = "vision.norm.bias",
    };
    if (part < LAYER_PARTS)
        snprintf(name, 96, "text.layers.%zu.%s", layer, names[part]);
    else if (part >= VISION_NORM1 && part < VISION_LAYER_END)
        snprintf(name, 96, "vision.layers.%zu.%s", layer, names[part]);
    else
        snprintf(name, 96, "%s", names[part]);
    return name;
}
