#include "vision_config.h"

#include <math.h>
#include <string.h>

/* Shapes of images are [height, width] in some configs and one number in others. */
static int get_square(const struct source *s, const char *key, size_t missing, size_t *to,
                      struct error *e)
{
    const json_t *list = config_json_value(s, key);
    if (!json_is_array(list))
        return config_json_read_size(s, key, 1 << 16, missing, to, e);
    json_int_t n = json_integer_value(json_array_get(list, 0));
    if (json_array_size(list) != 2 || n < 1 || n > 1 << 16 ||
        json_integer_value(json_array_get(list, 1)) != n)
        return config_json_error(s, key, "as high as it is wide", e);
    *to = (size_t)n;
    return 0;
}

static int check_heads(const struct vision_arch *v, const struct source *s, size_t divisor,
                       struct error *e)
{
    if (v->hidden % v->heads == 0 && v->hidden / v->heads % divisor == 0)
        return 0;
    return error_set(e, "%s: a vision tower of %zu numbers cannot have %zu heads", s->file,
                     v->hidden, v->heads);
}

static int check_size(const struct vision_arch *v, const struct source *s, struct error *e)
{
    double most = (double)((size_t)CONFIG_JSON_MAX_SIZE);
    double patch = (double)(v->channels * v->temporal) * (double)(v->patch * v->patch);
    return patch <= most && (double)(v->merge * v->merge) * (double)v->hidden <= most
               ? 0
               : error_set(e, "%s: the patches of the vision tower are too large", s->file);
}

static int get_token(struct vision_arch *v, const struct source *s, size_t missing, struct error *e)
{
    size_t token;
    if (config_json_read_count(s, "image_token_id", CONFIG_JSON_MAX_SIZE, missing, &token, e))
        return -1;
    v->image_token_id = (long)token;
    return 0;
}

/* ---- Qwen2-VL -------------------------------------------------------------------------------- */

static int read_qwen2vl(struct vision_arch *v, const struct source *s, const struct source *in,
                        size_t hidden, struct error *e)
{
    static const char *const activations[] = {
        [ACTIVATION_GELU] = "gelu", [ACTIVATION_QUICK_GELU] = "quick_gelu", NULL};
    const char *channels = config_json_value(in, "in_channels") ? "in_channels" : "in_chans";
    double ratio;
    size_t activation, out;
    v->kind = VISION_QWEN2VL;
    if (config_json_read_size(in, "depth", CONFIG_JSON_MAX_LAYERS, 32, &v->layers, e) ||
        config_json_read_size(in, "embed_dim", CONFIG_JSON_MAX_SIZE, 1280, &v->hidden, e) ||
        config_json_read_size(in, "num_heads", CONFIG_JSON_MAX_SIZE, 16, &v->heads, e) ||
        config_json_read_positive(in, "mlp_ratio", 4, &ratio, e) ||
        config_json_read_size(in, channels, 64, 3, &v->channels, e) ||
        config_json_read_size(in, "patch_size", 1 << 12, 14, &v->patch, e) ||
        config_json_read_size(in, "temporal_patch_size", 64, 2, &v->temporal, e) ||
        config_json_read_size(in, "spatial_merge_size", 64, 2, &v->merge, e) ||
        config_json_read_size(in, "hidden_size", CONFIG_JSON_MAX_SIZE, 3584, &out, e) ||
        config_json_read_choice(in, "hidden_act", activations, ACTIVATION_QUICK_GELU, &activation,
                                e) ||
        get_token(v, s, 151655, e))
        return -1;
    if (out != hidden)
        return error_set(e,
                         "%s: the vision tower makes %zu numbers of a token, the decoder has %zu",
                         s->file, out, hidden);
    double intermediate = floor(ratio * (double)v->hidden);
    if (intermediate < 1 || intermediate > (double)CONFIG_JSON_MAX_SIZE)
        return config_json_error(in, "mlp_ratio", "in a sensible range", e);
    v->layers_used = v->layers;
    v->intermediate = (size_t)intermediate;
    v->eps = v->projector_eps = 1e-6f;
    v->qkv_bias = true;
    v->activation = (enum activation)activation;
    v->projector_hidden = v->merge * v->merge * v->hidden;
    return check_size(v, s, e) || check_heads(v, s, 4, e) ? -1 : 0;
}

/* ---- InternVL -------------------------------------------------------------------------------- */

/* What one kind of config calls something, and what it need not say. */
struct intern_keys {
    const char *state, *biased, *normed; /* the selected state; q, k and v; q and k */
    size_t hidden, intermediate, layers, heads, image, patch;
};

/* The class's defaults are of another model than those that are about: they do not count. */
static const struct intern_keys chat = {
    "select_layer",       "qkv_bias",           "qk_normalization",
    CONFIG_JSON_REQUIRED, CONFIG_JSON_REQUIRED, CONFIG_JSON_REQUIRED,
    CONFIG_JSON_REQUIRED, CONFIG_JSON_REQUIRED, CONFIG_JSON_REQUIRED};
static const struct intern_keys native = {
    "vision_feature_layer", "attention_bias", "use_qk_norm", 1024, 4096, 24, 16, 448, 14};

/* States are counted from the embeddings, or backwards from the last. */
static int get_state(struct vision_arch *v, const struct source *s, const char *key,
                     struct error *e)
{
    const json_t *value = config_json_value(s, key);
    json_int_t n = value ? json_integer_value(value) : -1, states = (json_int_t)v->layers + 1;
    if ((value && !json_is_integer(value)) || n < -states || n >= states)
        return config_json_error(s, key, "the number of a layer", e);
    v->layers_used = (size_t)(n < 0 ? states + n : n);
    return 0;
}

/* Of four tokens one is made, or as many as downsample_ratio says. */
static int get_merge(struct vision_arch *v, const struct source *s, struct error *e)
{
    double ratio;
    if (config_json_read_positive(s, "downsample_ratio", 0.5, &ratio, e))
        return -1;
    v->merge = ratio <= 1 && ratio > 1.0 / 64 ? (size_t)lround(1 / ratio) : 0;
    return v->merge && fabs(1 / ratio - (double)v->merge) < 1e-6
               ? 0
               : config_json_error(s, "downsample_ratio", "one part of a whole number", e);
}

static int get_flags(struct vision_arch *v, const struct source *in, const struct intern_keys *k,
                     struct error *e)
{
    static const char *const norms[] = {"layer_norm", "rms_norm", NULL};
    static const char *const gelu[] = {"gelu", NULL};
    size_t norm, activation;
    bool required = k == &chat;
    const char *const keys[] = {k->biased, k->normed, "norm_type"};
    for (size_t i = 0; required && i < sizeof keys / sizeof *keys; i++)
        if (!config_json_value(in, keys[i]))
            return error_set(e, "%s: %s is missing", in->file, keys[i]);
    if (config_json_read_flag(in, k->biased, false, &v->qkv_bias, e) ||
        config_json_read_flag(in, k->normed, false, &v->qk_norm, e) ||
        config_json_read_choice(in, "norm_type", norms, 0, &norm, e) ||
        config_json_read_choice(in, "hidden_act", gelu, 0, &activation, e))
        return -1;
    v->rms_norm = norm == 1;
    v->activation = ACTIVATION_GELU;
    return 0;
}

static int get_sizes(struct vision_arch *v, const struct source *in, const struct intern_keys *k,
                     struct error *e)
{
    size_t image;
    double eps;
    if (config_json_read_size(in, "num_hidden_layers", CONFIG_JSON_MAX_LAYERS, k->layers,
                              &v->layers, e) ||
        config_json_read_size(in, "hidden_size", CONFIG_JSON_MAX_SIZE, k->hidden, &v->hidden, e) ||
        config_json_read_size(in, "intermediate_size", CONFIG_JSON_MAX_SIZE, k->intermediate,
                              &v->intermediate, e) ||
        config_json_read_size(in, "num_attention_heads", CONFIG_JSON_MAX_SIZE, k->heads, &v->heads,
                              e) ||
        config_json_read_size(in, "num_channels", 64, 3, &v->channels, e) ||
        get_square(in, "patch_size", k->patch, &v->patch, e) ||
        get_square(in, "image_size", k->image, &image, e) ||
        config_json_read_positive(in, "layer_norm_eps", 1e-6, &eps, e))
        return -1;
    v->eps = (float)eps;
    v->position_grid = image / v->patch;
    v->temporal = 1;
    return image % v->patch == 0
               ? 0
               : error_set(e, "%s: an image of %zu pixels has no whole number of patches of %zu",
                           in->file, image, v->patch);
}

/* internvl_chat: pixel shuffle in one of two orders. */
static int read_chat(struct vision_arch *v, const struct source *s, struct error *e)
{
    static const char *const versions[] = {"v1", "v2", NULL};
    size_t version;
    v->image_token_id = -1;
    v->qk_eps = v->eps;
    if (config_json_read_choice(s, "ps_version", versions, 0, &version, e))
        return -1;
    v->shuffle_transposed = version == 0;
    return 0;
}

/* What transformers can do and nobody uses is not here. */
static int check_native(const struct source *s, const struct source *in, struct error *e)
{
    static const char *const gelu[] = {"gelu", NULL}, *const without_class[] = {"default", NULL};
    bool positions;
    size_t only;
    if (config_json_read_flag(in, "use_absolute_position_embeddings", true, &positions, e) ||
        config_json_read_choice(s, "projector_hidden_act", gelu, 0, &only, e) ||
        config_json_read_choice(s, "vision_feature_select_strategy", without_class, 0, &only, e))
        return -1;
    return positions ? 0
                     : error_set(e,
                                 "%s: a vision tower without position embeddings is not known "
                                 "here",
                                 in->file);
}

static int read_native(struct vision_arch *v, const struct source *s, const struct source *in,
                       struct error *e)
{
    bool pooled;
    v->qk_eps = 1e-6f;
    if (check_native(s, in, e) || get_token(v, s, 151667, e) ||
        config_json_read_flag(in, "use_mean_pooling", true, &pooled, e))
        return -1;
    v->final_norm = !pooled;
    return 0;
}

static int read_internvl(struct vision_arch *v, const struct source *s, const struct source *in,
                         const struct intern_keys *k, size_t hidden, struct error *e)
{
    v->kind = VISION_INTERNVL;
    v->projector_hidden = hidden;
    v->projector_eps = 1e-5f;
    if (get_sizes(v, in, k, e) || get_flags(v, in, k, e) || get_state(v, s, k->state, e) ||
        get_merge(v, s, e) || (k == &chat ? read_chat(v, s, e) : read_native(v, s, in, e)))
        return -1;
    return check_size(v, s, e) || check_heads(v, s, 1, e) ? -1 : 0;
}

int vision_config(struct vision_arch *v, const struct source *s, const char *type, size_t hidden,
                  struct error *e)
{
    struct source in = {s->file, config_json_value(s, "vision_config")};
    bool qwen = strcmp(type, "qwen2_vl") == 0, own = strcmp(type, "internvl_chat") == 0;
    if (!qwen && !own && strcmp(type, "internvl") != 0)
        return 0;
    if (!json_is_object(in.object))
        return config_json_error(s, "vision_config", "an object", e);
    return qwen ? read_qwen2vl(v, s, &in, hidden, e)
                : read_internvl(v, s, &in, own ? &chat : &native, hidden, e);
}
