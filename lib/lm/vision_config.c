#include "vision_config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A vision-language model's config that is being read. */
struct vision_config {
    const struct config_object *top;    /* config.json */
    const struct config_object *vision; /* its vision_config */
    size_t decoder_hidden;
};

/* Sizes of images and patches are [height, width] in some configs and one number in others. */
static int read_square_size(const struct config_object *c, const char *key, size_t missing,
                            size_t *to, struct error *e)
{
    const json_t *list = config_json_value(c, key);
    if (!json_is_array(list))
        return config_json_read_size(c, key, 1 << 16, missing, to, e);
    json_int_t n = json_integer_value(json_array_get(list, 0));
    if (json_array_size(list) != 2 || n < 1 || n > 1 << 16 ||
        json_integer_value(json_array_get(list, 1)) != n)
        return config_json_error(c, key, "equal height and width", e);
    *to = (size_t)n;
    return 0;
}

/* Each head has a multiple of `divisor` values. */
static int check_vision_heads(const struct vision_arch *v, const struct vision_config *c,
                              size_t divisor, struct error *e)
{
    if (v->hidden % v->heads == 0 && v->hidden / v->heads % divisor == 0)
        return 0;
    return error_set(e,
                     "%s: the vision tower's %zu values cannot be split into %zu heads with a "
                     "multiple of %zu",
                     c->top->file, v->hidden, v->heads, divisor);
}

static int check_patch_and_feature_size(const struct vision_arch *v, const struct vision_config *c,
                                        struct error *e)
{
    double max = (double)CONFIG_JSON_MAX_SIZE;
    double patch =
        (double)(v->channels * v->temporal_patch_size) * (double)(v->patch_size * v->patch_size);
    double feature = (double)(v->merge_size * v->merge_size) * (double)v->hidden;
    return patch <= max && feature <= max
               ? 0
               : error_set(e, "%s: a patch or feature of the vision tower has more than %zu values",
                           c->top->file, (size_t)CONFIG_JSON_MAX_SIZE);
}

static int read_image_token_id(struct vision_arch *v, const struct vision_config *c, size_t missing,
                               struct error *e)
{
    size_t token;
    if (config_json_read_count(c->top, "image_token_id", CONFIG_JSON_MAX_SIZE, missing, &token, e))
        return -1;
    v->image_token_id = (long)token;
    return 0;
}

/* ---- Qwen2-VL -------------------------------------------------------------------------------- */

static int read_qwen2vl_sizes(struct vision_arch *v, const struct vision_config *c, struct error *e)
{
    const struct config_object *o = c->vision;
    const json_int_t max = CONFIG_JSON_MAX_SIZE;
    const char *channels = config_json_value(o, "in_channels") ? "in_channels" : "in_chans";
    double ratio;
    if (config_json_read_size(o, "depth", CONFIG_JSON_MAX_LAYERS, 32, &v->layers, e) ||
        config_json_read_size(o, "embed_dim", max, 1280, &v->hidden, e) ||
        config_json_read_size(o, "num_heads", max, 16, &v->heads, e) ||
        config_json_read_positive(o, "mlp_ratio", 4, &ratio, e) ||
        config_json_read_size(o, channels, 64, 3, &v->channels, e) ||
        config_json_read_size(o, "patch_size", 1 << 12, 14, &v->patch_size, e) ||
        config_json_read_size(o, "temporal_patch_size", 64, 2, &v->temporal_patch_size, e) ||
        config_json_read_size(o, "spatial_merge_size", 64, 2, &v->merge_size, e))
        return -1;
    double intermediate = floor(ratio * (double)v->hidden);
    if (intermediate < 1 || intermediate > (double)max)
        return config_json_error(o, "mlp_ratio", "a ratio for 1 to 16777216 values", e);
    v->intermediate = (size_t)intermediate;
    return 0;
}

static int check_tower_output_size(const struct vision_config *c, struct error *e)
{
    size_t out;
    if (config_json_read_size(c->vision, "hidden_size", CONFIG_JSON_MAX_SIZE, 3584, &out, e))
        return -1;
    return out == c->decoder_hidden
               ? 0
               : error_set(e,
                           "%s: the vision tower's output has %zu values, but the decoder's "
                           "hidden_size is %zu",
                           c->top->file, out, c->decoder_hidden);
}

static int read_qwen2vl(struct vision_arch *v, const struct vision_config *c, struct error *e)
{
    static const char *const activations[] = {
        [ACTIVATION_GELU] = "gelu", [ACTIVATION_QUICK_GELU] = "quick_gelu", NULL};
    size_t activation;
    if (read_qwen2vl_sizes(v, c, e) || check_tower_output_size(c, e) ||
        config_json_read_choice(c->vision, "hidden_act", activations, ACTIVATION_QUICK_GELU,
                                &activation, e) ||
        read_image_token_id(v, c, 151655, e))
        return -1;
    v->layers_used = v->layers;
    v->eps = v->projector_eps = 1e-6f;
    v->qkv_bias = true;
    v->activation = (enum activation)activation;
    v->projector_hidden = arch_values_per_feature(v);
    return check_patch_and_feature_size(v, c, e) || check_vision_heads(v, c, 4, e) ? -1 : 0;
}

/* ---- InternVL -------------------------------------------------------------------------------- */

/* Names and defaults that differ between internvl_chat and internvl. */
struct internvl_keys {
    const char *layer, *qkv_bias, *qk_norm; /* layer: the selected hidden state */
    size_t hidden, intermediate, layers, heads, image, patch;
};

/* The class of internvl_chat has the defaults of another model, so these keys are required. */
static const struct internvl_keys chat_keys = {
    "select_layer",       "qkv_bias",           "qk_normalization",
    CONFIG_JSON_REQUIRED, CONFIG_JSON_REQUIRED, CONFIG_JSON_REQUIRED,
    CONFIG_JSON_REQUIRED, CONFIG_JSON_REQUIRED, CONFIG_JSON_REQUIRED};
static const struct internvl_keys transformers_keys = {
    "vision_feature_layer", "attention_bias", "use_qk_norm", 1024, 4096, 24, 16, 448, 14};

/* Hidden states are numbered from the embeddings (0), or backwards from the last (-1). */
static int read_selected_layer(struct vision_arch *v, const struct vision_config *c,
                               const char *key, struct error *e)
{
    const json_t *value = config_json_value(c->top, key);
    json_int_t n = value ? json_integer_value(value) : -1, states = (json_int_t)v->layers + 1;
    char expected[64];
    snprintf(expected, sizeof expected, "a layer number from %lld to %lld", -(long long)states,
             (long long)states - 1);
    if ((value && !json_is_integer(value)) || n < -states || n >= states)
        return config_json_error(c->top, key, expected, e);
    v->layers_used = (size_t)(n < 0 ? states + n : n);
    return 0;
}

/* downsample_ratio r: (1/r)^2 patches become one token. */
static int read_merge_size(struct vision_arch *v, const struct vision_config *c, struct error *e)
{
    double ratio;
    if (config_json_read_positive(c->top, "downsample_ratio", 0.5, &ratio, e))
        return -1;
    v->merge_size = ratio <= 1 && ratio > 1.0 / 64 ? (size_t)lround(1 / ratio) : 0;
    return v->merge_size && fabs(1 / ratio - (double)v->merge_size) < 1e-6
               ? 0
               : config_json_error(c->top, "downsample_ratio", "1/n for a whole number n", e);
}

static int read_norms_and_activation(struct vision_arch *v, const struct vision_config *c,
                                     const struct internvl_keys *k, struct error *e)
{
    static const char *const norms[] = {"layer_norm", "rms_norm", NULL};
    static const char *const gelu[] = {"gelu", NULL};
    const char *const keys[] = {k->qkv_bias, k->qk_norm, "norm_type"};
    size_t norm, activation;
    for (size_t i = 0; k == &chat_keys && i < sizeof keys / sizeof *keys; i++)
        if (!config_json_value(c->vision, keys[i]))
            return error_set(e, "%s: %s is missing", c->top->file, keys[i]);
    if (config_json_read_flag(c->vision, k->qkv_bias, false, &v->qkv_bias, e) ||
        config_json_read_flag(c->vision, k->qk_norm, false, &v->qk_norm, e) ||
        config_json_read_choice(c->vision, "norm_type", norms, 0, &norm, e) ||
        config_json_read_choice(c->vision, "hidden_act", gelu, 0, &activation, e))
        return -1;
    v->rms_norm = norm == 1;
    v->activation = ACTIVATION_GELU;
    return 0;
}

static int read_internvl_sizes(struct vision_arch *v, const struct vision_config *c,
                               const struct internvl_keys *k, struct error *e)
{
    const struct config_object *o = c->vision;
    const json_int_t max = CONFIG_JSON_MAX_SIZE;
    size_t image;
    double eps;
    if (config_json_read_size(o, "num_hidden_layers", CONFIG_JSON_MAX_LAYERS, k->layers, &v->layers,
                              e) ||
        config_json_read_size(o, "hidden_size", max, k->hidden, &v->hidden, e) ||
        config_json_read_size(o, "intermediate_size", max, k->intermediate, &v->intermediate, e) ||
        config_json_read_size(o, "num_attention_heads", max, k->heads, &v->heads, e) ||
        config_json_read_size(o, "num_channels", 64, 3, &v->channels, e) ||
        read_square_size(o, "patch_size", k->patch, &v->patch_size, e) ||
        read_square_size(o, "image_size", k->image, &image, e) ||
        config_json_read_positive(o, "layer_norm_eps", 1e-6, &eps, e))
        return -1;
    v->eps = (float)eps;
    v->position_grid = image / v->patch_size;
    v->temporal_patch_size = 1;
    return image % v->patch_size == 0
               ? 0
               : error_set(e, "%s: image_size %zu is not a multiple of patch_size %zu", o->file,
                           image, v->patch_size);
}

/* internvl_chat: pixel shuffle in one of two orders. */
static int read_internvl_chat(struct vision_arch *v, const struct vision_config *c, struct error *e)
{
    static const char *const versions[] = {"v1", "v2", NULL};
    size_t version;
    v->image_token_id = -1;
    v->qk_eps = v->eps;
    if (config_json_read_choice(c->top, "ps_version", versions, 0, &version, e))
        return -1;
    v->shuffle_transposed = version == 0;
    return 0;
}

/* Rejects options of transformers that no published model uses. */
static int check_internvl_transformers(const struct vision_config *c, struct error *e)
{
    static const char *const gelu[] = {"gelu", NULL}, *const without_class[] = {"default", NULL};
    static const char positions[] = "use_absolute_position_embeddings";
    bool absolute;
    size_t choice;
    if (config_json_read_flag(c->vision, positions, true, &absolute, e) ||
        config_json_read_choice(c->top, "projector_hidden_act", gelu, 0, &choice, e) ||
        config_json_read_choice(c->top, "vision_feature_select_strategy", without_class, 0, &choice,
                                e))
        return -1;
    return absolute ? 0 : config_json_error(c->vision, positions, "true", e);
}

static int read_internvl_transformers(struct vision_arch *v, const struct vision_config *c,
                                      struct error *e)
{
    bool pooled;
    v->qk_eps = 1e-6f;
    if (check_internvl_transformers(c, e) || read_image_token_id(v, c, 151667, e) ||
        config_json_read_flag(c->vision, "use_mean_pooling", true, &pooled, e))
        return -1;
    v->final_norm = !pooled;
    return 0;
}

static int read_internvl(struct vision_arch *v, const struct vision_config *c, bool chat,
                         struct error *e)
{
    const struct internvl_keys *k = chat ? &chat_keys : &transformers_keys;
    v->projector_hidden = c->decoder_hidden;
    v->projector_eps = 1e-5f;
    if (read_internvl_sizes(v, c, k, e) || read_norms_and_activation(v, c, k, e) ||
        read_selected_layer(v, c, k->layer, e) || read_merge_size(v, c, e) ||
        (chat ? read_internvl_chat(v, c, e) : read_internvl_transformers(v, c, e)))
        return -1;
    return check_patch_and_feature_size(v, c, e) || check_vision_heads(v, c, 1, e) ? -1 : 0;
}

int vision_config_read(struct arch *a, const struct config_object *c, const char *model_type,
                       struct error *e)
{
    struct config_object vision = {c->file, config_json_value(c, "vision_config")};
    const struct vision_config v = {c, &vision, a->hidden};
    if (!json_is_object(vision.object))
        return config_json_error(c, "vision_config", "an object", e);
    if (a->vision.kind == VISION_QWEN2VL)
        return read_qwen2vl(&a->vision, &v, e);
    return read_internvl(&a->vision, &v, strcmp(model_type, "internvl_chat") == 0, e);
}
