#include "decoder_config.h"

#include "mem.h"
#include "rope_config.h"

#include <string.h>

/* The defaults of a decoder's class in transformers. */
struct decoder_defaults {
    size_t vocab, hidden, intermediate, layers, heads;
    size_t kv_heads; /* 0: as many as heads */
    size_t head_dim; /* 0: hidden / heads */
    size_t positions;
    size_t max_window_layers; /* the layers below have no sliding window */
    double eps, theta;
};

static const struct decoder_defaults all_defaults[] = {
    [DECODER_MISTRAL] = {32000, 4096, 14336, 32, 32, 8, 0, 131072, 0, 1e-6, 1e4},
    [DECODER_LLAMA] = {32000, 4096, 11008, 32, 32, 0, 0, 2048, 0, 1e-6, 1e4},
    [DECODER_QWEN2] = {151936, 4096, 22016, 32, 32, 32, 0, 32768, 28, 1e-6, 1e4},
    [DECODER_QWEN3] = {151936, 4096, 22016, 32, 32, 32, 128, 32768, 28, 1e-6, 1e4},
    [DECODER_QWEN2VL] = {152064, 8192, 29568, 80, 64, 8, 0, 32768, 80, 1e-5, 1e6},
};

/* A decoder's config that is being read. */
struct decoder_config {
    const struct config_object *object;
    enum decoder_kind kind;
    const struct decoder_defaults *defaults;
};

/* ---- sizes ----------------------------------------------------------------------------------- */

static int read_decoder_sizes(struct arch *a, const struct decoder_config *c, struct error *e)
{
    const struct config_object *o = c->object;
    const struct decoder_defaults *d = c->defaults;
    const json_int_t max = CONFIG_JSON_MAX_SIZE;
    double eps;
    if (config_json_read_size(o, "vocab_size", max, d->vocab, &a->vocab, e) ||
        config_json_read_size(o, "hidden_size", max, d->hidden, &a->hidden, e) ||
        config_json_read_size(o, "intermediate_size", max, d->intermediate, &a->intermediate, e) ||
        config_json_read_size(o, "num_hidden_layers", CONFIG_JSON_MAX_LAYERS, d->layers, &a->layers,
                              e) ||
        config_json_read_size(o, "num_attention_heads", max, d->heads, &a->heads, e) ||
        config_json_read_size(o, "max_position_embeddings", ROPE_CONFIG_MAX_POSITIONS, d->positions,
                              &a->max_positions, e) ||
        config_json_read_positive(o, "rms_norm_eps", d->eps, &eps, e))
        return -1;
    a->eps = (float)eps;
    return 0;
}

/* A null num_key_value_heads means as many as heads; a missing key, the class's default. */
static int read_kv_heads(struct arch *a, const struct decoder_config *c, struct error *e)
{
    bool given = json_object_get(c->object->object, "num_key_value_heads");
    size_t missing = given || !c->defaults->kv_heads ? a->heads : c->defaults->kv_heads;
    if (config_json_read_size(c->object, "num_key_value_heads", CONFIG_JSON_MAX_SIZE, missing,
                              &a->kv_heads, e))
        return -1;
    return a->heads % a->kv_heads == 0
               ? 0
               : error_set(e,
                           "%s: num_attention_heads %zu is not a multiple of num_key_value_heads "
                           "%zu",
                           c->object->file, a->heads, a->kv_heads);
}

/* hidden / heads or the class's default, unless the config has head_dim, which Qwen2-VL ignores. */
static int read_head_dim(struct arch *a, const struct decoder_config *c, struct error *e)
{
    const char *file = c->object->file;
    size_t missing = c->defaults->head_dim;
    a->head_dim = missing ? missing : a->hidden / a->heads;
    if (c->kind != DECODER_QWEN2VL && config_json_value(c->object, "head_dim")) {
        if (config_json_read_size(c->object, "head_dim", 1 << 16, 1, &a->head_dim, e))
            return -1;
    } else if (!missing && a->hidden % a->heads) {
        return error_set(e, "%s: hidden_size %zu is not a multiple of num_attention_heads %zu",
                         file, a->hidden, a->heads);
    }
    if (a->head_dim < 2 || a->head_dim % 2)
        return error_set(e, "%s: head_dim is %zu; expected an even number", file, a->head_dim);
    if (a->heads * a->head_dim > (size_t)CONFIG_JSON_MAX_SIZE)
        return error_set(e, "%s: %zu heads of %zu values are too many; the limit is %zu values",
                         file, a->heads, a->head_dim, (size_t)CONFIG_JSON_MAX_SIZE);
    return 0;
}

/* The only activation of the MLP is SwiGLU's. */
static int check_mlp_activation(const struct decoder_config *c, struct error *e)
{
    static const char *const silu[] = {"silu", NULL};
    size_t activation;
    return config_json_read_choice(c->object, "hidden_act", silu, 0, &activation, e);
}

/* ---- biases ---------------------------------------------------------------------------------- */

/* q, k and v have biases in every Qwen2 and in no Mistral, regardless of the config; in Qwen3,
 * which has q and k norms, and in Llama attention_bias decides. */
static int read_biases(struct arch *a, const struct decoder_config *c, struct error *e)
{
    bool llama = c->kind == DECODER_LLAMA, qwen3 = c->kind == DECODER_QWEN3, attention, mlp;
    if (config_json_read_flag(c->object, "attention_bias", false, &attention, e) ||
        config_json_read_flag(c->object, "mlp_bias", false, &mlp, e))
        return -1;
    a->qkv_bias =
        c->kind == DECODER_QWEN2 || c->kind == DECODER_QWEN2VL || ((llama || qwen3) && attention);
    a->o_bias = (llama || qwen3) && attention;
    a->qk_norm = qwen3;
    a->mlp_bias = llama && mlp;
    const json_t *tensor_parallel = config_json_value(c->object, "pretraining_tp");
    return llama && tensor_parallel && json_integer_value(tensor_parallel) != 1
               ? config_json_error(c->object, "pretraining_tp", "1", e)
               : 0;
}

/* ---- sliding windows ------------------------------------------------------------------------- */

static int layer_type_error(const struct config_object *c, size_t layer, const char *type,
                            struct error *e)
{
    return error_set(e, "%s: layer_types[%zu] is %s; expected sliding_attention or full_attention",
                     c->file, layer, type ? type : "not a string");
}

/* Qwen2: the layers that layer_types calls sliding have the window, or else all from
 * max_window_layers on. */
static int set_sliding_windows_by_layer(struct arch *a, const struct decoder_config *c,
                                        size_t window, struct error *e)
{
    const json_t *types = config_json_value(c->object, "layer_types");
    size_t first;
    if (config_json_read_count(c->object, "max_window_layers", CONFIG_JSON_MAX_LAYERS,
                               c->defaults->max_window_layers, &first, e))
        return -1;
    if (types && json_array_size(types) != a->layers)
        return error_set(e, "%s: layer_types has %zu entries, but there are %zu layers",
                         c->object->file, json_array_size(types), a->layers);
    for (size_t i = 0; i < a->layers; i++) {
        const char *type = types        ? json_string_value(json_array_get(types, i))
                           : i >= first ? "sliding_attention"
                                        : "full_attention";
        bool sliding = type && strcmp(type, "sliding_attention") == 0;
        if (!sliding && (!type || strcmp(type, "full_attention") != 0))
            return layer_type_error(c->object, i, type, e);
        a->sliding_windows[i] = sliding ? window : 0;
    }
    return 0;
}

/* A null sliding_window means none; a missing key, the class's default. */
static int read_sliding_windows(struct arch *a, const struct decoder_config *c, struct error *e)
{
    size_t window;
    bool used;
    a->sliding_windows = mem_alloc(a->layers, sizeof *a->sliding_windows);
    if (c->kind == DECODER_LLAMA)
        return 0;
    bool none = json_is_null(json_object_get(c->object->object, "sliding_window"));
    if (config_json_read_count(c->object, "sliding_window", (json_int_t)1 << 40, none ? 0 : 4096,
                               &window, e) ||
        config_json_read_flag(c->object, "use_sliding_window", false, &used, e))
        return -1;
    if (c->kind != DECODER_MISTRAL)
        return window && used ? set_sliding_windows_by_layer(a, c, window, e) : 0;
    for (size_t i = 0; i < a->layers; i++)
        a->sliding_windows[i] = window;
    return 0;
}

int decoder_config_read(struct arch *a, const struct config_object *c, enum decoder_kind kind,
                        struct error *e)
{
    const struct decoder_config d = {c, kind, &all_defaults[kind]};
    if (check_mlp_activation(&d, e) || read_decoder_sizes(a, &d, e) || read_kv_heads(a, &d, e) ||
        read_head_dim(a, &d, e) || read_biases(a, &d, e) || read_sliding_windows(a, &d, e))
        return -1;
    return rope_config_read(a, c, d.defaults->theta, kind == DECODER_QWEN2VL, e);
}
