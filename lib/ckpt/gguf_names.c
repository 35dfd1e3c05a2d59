#include "gguf_names.h"

#include <string.h>

struct name_pair {
    const char *gguf, *hf; /* of a layer: without "blk.N." and "model.layers.N." */
};

static const struct name_pair outside_layers[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
};

static const struct name_pair in_layer[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_q.bias", "self_attn.q_proj.bias"},
    {"attn_k.weight", "self_attn.k_proj.weight"},
    {"attn_k.bias", "self_attn.k_proj.bias"},
    {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_v.bias", "self_attn.v_proj.bias"},
    {"attn_output.weight", "self_attn.o_proj.weight"},
    {"attn_output.bias", "self_attn.o_proj.bias"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_gate.bias", "mlp.gate_proj.bias"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_up.bias", "mlp.up_proj.bias"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
    {"ffn_down.bias", "mlp.down_proj.bias"},
};

#define GGUF_LAYER "blk."
#define HF_LAYER   "model.layers."
#define COUNT(x)   (sizeof(x) / sizeof *(x))

/* What follows "blk.N." in a name, with N of *digits digits; NULL if it does not begin so. */
static const char *skip_layer(const char *name, size_t *digits)
{
    size_t n = strlen(GGUF_LAYER);
    if (strncmp(name, GGUF_LAYER, n) != 0)
        return NULL;
    *digits = strspn(name + n, "0123456789");
    return *digits > 0 && name[n + *digits] == '.' ? name + n + *digits + 1 : NULL;
}

static const struct name_pair *find_in_layer(const char *rest)
{
    for (size_t i = 0; i < COUNT(in_layer); i++)
        if (strcmp(rest, in_layer[i].gguf) == 0)
            return &in_layer[i];
    return NULL;
}

enum gguf_name_kind gguf_names_to_hf(const char *gguf_name, struct arena *a, const char **name)
{
    size_t digits;
    const char *rest = skip_layer(gguf_name, &digits);
    const struct name_pair *pair = rest ? find_in_layer(rest) : NULL;
    *name = NULL;
    if (pair)
        *name = arena_printf(a, HF_LAYER "%.*s.%s", (int)digits, gguf_name + strlen(GGUF_LAYER),
                             pair->hf);
    for (size_t i = 0; i < COUNT(outside_layers); i++)
        if (strcmp(gguf_name, outside_layers[i].gguf) == 0)
            *name = outside_layers[i].hf;
    if (*name)
        return GGUF_NAME_WEIGHT;
    if (strcmp(gguf_name, "rope_freqs.weight") == 0)
        return GGUF_NAME_ROPE;
    if (strncmp(gguf_name, "rope_factors_", strlen("rope_factors_")) == 0)
        return GGUF_NAME_LONGROPE;
    return rest && strncmp(rest, "attn_rot_embd", strlen("attn_rot_embd")) == 0 ? GGUF_NAME_DROPPED
                                                                                : GGUF_NAME_UNKNOWN;
}

int gguf_names_find_q_or_k(const char *gguf_name)
{
    size_t digits;
    const char *rest = skip_layer(gguf_name, &digits);
    if (!rest)
        return 0;
    if (strncmp(rest, "attn_q.", 7) == 0)
        return 1;
    return strncmp(rest, "attn_k.", 7) == 0 ? 2 : 0;
}
