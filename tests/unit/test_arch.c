/* Configs of vision-language models, as published and as saved by transformers, and the canonical
 * names of their tensors in every name scheme. */
#include "arch_config.h"
#include "name_scheme.h"
#include "unit.h"
#include "weight_kind.h"

#include <string.h>

/* As published on the Hub. */
static const char qwen2vl_2b[] =
    "{\"architectures\": [\"Qwen2VLForConditionalGeneration\"], \"attention_dropout\": 0.0,"
    " \"bos_token_id\": 151643, \"eos_token_id\": 151645, \"vision_start_token_id\": 151652,"
    " \"vision_end_token_id\": 151653, \"vision_token_id\": 151654, \"image_token_id\": 151655,"
    " \"video_token_id\": 151656, \"hidden_act\": \"silu\", \"hidden_size\": 1536,"
    " \"initializer_range\": 0.02, \"intermediate_size\": 8960, \"max_position_embeddings\": 32768,"
    " \"max_window_layers\": 28, \"model_type\": \"qwen2_vl\", \"num_attention_heads\": 12,"
    " \"num_hidden_layers\": 28, \"num_key_value_heads\": 2, \"rms_norm_eps\": 1e-06,"
    " \"rope_theta\": 1000000.0, \"sliding_window\": 32768, \"tie_word_embeddings\": true,"
    " \"torch_dtype\": \"bfloat16\", \"use_cache\": true, \"use_sliding_window\": false,"
    " \"vision_config\": {\"depth\": 32, \"embed_dim\": 1280, \"mlp_ratio\": 4, \"num_heads\": 16,"
    " \"in_chans\": 3, \"hidden_size\": 1536, \"patch_size\": 14, \"spatial_merge_size\": 2,"
    " \"spatial_patch_size\": 14, \"temporal_patch_size\": 2},"
    " \"rope_scaling\": {\"type\": \"mrope\", \"mrope_section\": [16, 24, 24]},"
    " \"vocab_size\": 151936}";

static const char internvl25_1b[] =
    "{\"architectures\": [\"InternVLChatModel\"], \"downsample_ratio\": 0.5,"
    " \"dynamic_image_size\": true, \"force_image_size\": 448, \"llm_config\": {"
    " \"architectures\": [\"Qwen2ForCausalLM\"], \"attention_dropout\": 0.0, \"hidden_act\": "
    "\"silu\","
    " \"hidden_size\": 896, \"intermediate_size\": 4864, \"max_position_embeddings\": 32768,"
    " \"max_window_layers\": 21, \"model_type\": \"qwen2\", \"num_attention_heads\": 14,"
    " \"num_hidden_layers\": 24, \"num_key_value_heads\": 2, \"rms_norm_eps\": 1e-06,"
    " \"rope_theta\": 1000000.0, \"sliding_window\": 32768, \"tie_word_embeddings\": false,"
    " \"use_sliding_window\": false, \"vocab_size\": 151674}, \"max_dynamic_patch\": 12,"
    " \"min_dynamic_patch\": 1, \"model_type\": \"internvl_chat\", \"ps_version\": \"v2\","
    " \"select_layer\": -1, \"template\": \"internvl2_5\", \"torch_dtype\": \"bfloat16\","
    " \"use_thumbnail\": true, \"vision_config\": {\"architectures\": [\"InternVisionModel\"],"
    " \"hidden_act\": \"gelu\", \"hidden_size\": 1024, \"image_size\": 448,"
    " \"intermediate_size\": 4096, \"layer_norm_eps\": 1e-06, \"model_type\": \"intern_vit_6b\","
    " \"norm_type\": \"layer_norm\", \"num_attention_heads\": 16, \"num_channels\": 3,"
    " \"num_hidden_layers\": 24, \"patch_size\": 14, \"qk_normalization\": false,"
    " \"qkv_bias\": true}}";

/* As transformers 5 saves it. */
static const char internvl_native[] =
    "{\"architectures\": [\"InternVLForConditionalGeneration\"], \"model_type\": \"internvl\","
    " \"text_config\": {\"model_type\": \"qwen2\", \"hidden_size\": 896, \"intermediate_size\": "
    "4864,"
    " \"num_hidden_layers\": 24, \"num_attention_heads\": 14, \"num_key_value_heads\": 2,"
    " \"tie_word_embeddings\": false, \"vocab_size\": 151674, \"rope_parameters\": {"
    " \"rope_theta\": 1000000.0, \"rope_type\": \"dynamic\", \"factor\": 2.0}},"
    " \"vision_config\": {\"image_size\": [448, 448], \"patch_size\": [14, 14],"
    " \"attention_bias\": true, \"use_mean_pooling\": false}}";

/* Reads `text` with the first `from` in it replaced by `to`. */
static int read_with(struct arch *a, const char *text, const char *from, const char *to,
                     struct error *e)
{
    static char changed[8192];
    const char *at = strstr(text, from);
    bool duplicates;
    CHECK(at != NULL);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return arch_config_read(a, "config", changed, strlen(changed), &duplicates, e);
}

static void check_refused(const char *text, const char *from, const char *to, const char *why)
{
    struct arch a;
    struct error e;
    CHECK(read_with(&a, text, from, to, &e) == -1);
    if (!strstr(e.text, why))
        fprintf(stderr, "%s: %s\n", why, e.text);
    CHECK(strstr(e.text, why) != NULL);
}

/* The number of a model's parameters, as its index or its authors give it. */
static size_t parameters(const struct arch *a)
{
    size_t n = 0;
    for (enum weight_kind kind = 0; kind < WEIGHT_KINDS; kind++)
        if (kind != WEIGHT_LM_HEAD || !a->tied_embeddings)
            n += weight_kind_elements(a, kind) * weight_kind_layers(a, kind);
    return n;
}

static void check_qwen2vl(void)
{
    struct arch a;
    struct error e;
    CHECK(!read_with(&a, qwen2vl_2b, "", "", &e));
    CHECK(strcmp(a.architecture, "qwen2_vl") == 0 && parameters(&a) == 2208985600);
    CHECK(a.head_dim == 128 && a.tied_embeddings && a.qkv_bias && !a.o_bias &&
          !a.sliding_windows[27]);
    CHECK(a.rope.type == ROPE_DEFAULT && a.rope.theta == 1e6 && a.rope.mrope_section[0] == 16 &&
          a.rope.mrope_section[1] == 24 && a.rope.mrope_section[2] == 24);
    CHECK(a.vision.layers == 32 && a.vision.layers_used == 32 &&
          a.vision.projector_hidden == 5120 && a.vision.activation == ACTIVATION_QUICK_GELU &&
          a.vision.image_token_id == 151655);
    arch_free(&a);
    /* Qwen2-VL ignores head_dim. */
    CHECK(!read_with(&a, qwen2vl_2b, "\"hidden_act\"", "\"head_dim\": 64, \"hidden_act\"", &e));
    CHECK(a.head_dim == 128);
    arch_free(&a);
    check_refused(qwen2vl_2b, "[16, 24, 24]", "[16, 24, 25]", "mrope_section has 65 frequencies");
    check_refused(qwen2vl_2b, "\"mrope_section\"", "\"sections\"", "mrope_section is missing");
    check_refused(qwen2vl_2b, "\"hidden_size\": 1536, \"patch", "\"hidden_size\": 896, \"patch",
                  "output has 896 values, but the decoder's hidden_size is 1536");
    check_refused(qwen2vl_2b, "\"num_heads\": 16", "\"num_heads\": 17",
                  "cannot be split into 17 heads");
    check_refused(qwen2vl_2b, "\"in_chans\": 3", "\"in_channels\": 0",
                  "in_channels is 0; expected");
    check_refused(qwen2vl_2b, "\"vision_config\": {", "\"other\": {",
                  "vision_config is missing; expected an object");
}

static void check_qwen2vl_7b(void)
{
    struct arch a;
    struct error e;
    char larger[sizeof qwen2vl_2b + 64];
    snprintf(larger, sizeof larger, "%s", qwen2vl_2b);
    const char *const changes[][2] = {
        {"\"hidden_size\": 1536, \"init", "\"hidden_size\": 3584, \"init"},
        {"8960", "18944"},
        {"\"num_attention_heads\": 12", "\"num_attention_heads\": 28"},
        {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4"},
        {"embeddings\": true", "embeddings\": false"},
        {"\"hidden_size\": 1536, \"patch", "\"hidden_size\": 3584, \"patch"}};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char *at = strstr(larger, changes[i][0]);
        CHECK(at != NULL);
        size_t from = strlen(changes[i][0]), to = strlen(changes[i][1]);
        memmove(at + to, at + from, strlen(at + from) + 1);
        memcpy(at, changes[i][1], to);
    }
    CHECK(!read_with(&a, larger, "151936", "152064", &e));
    CHECK(parameters(&a) == 8291375616 && a.head_dim == 128 && !a.tied_embeddings);
    arch_free(&a);
}

static void check_internvl(void)
{
    struct arch a;
    struct error e;
    CHECK(!read_with(&a, internvl25_1b, "", "", &e));
    CHECK(strcmp(a.architecture, "internvl") == 0 && parameters(&a) == 938193024);
    CHECK(!a.tied_embeddings && a.head_dim == 64 && a.qkv_bias && a.rope.theta == 1e6 &&
          !a.rope.mrope_section[0]);
    CHECK(a.vision.layers == 24 && a.vision.layers_used == 24 && a.vision.position_grid == 32 &&
          a.vision.merge_size == 2 && !a.vision.shuffle_transposed && !a.vision.rms_norm &&
          !a.vision.qk_norm && a.vision.qkv_bias && !a.vision.final_norm &&
          a.vision.image_token_id == -1 && a.vision.projector_hidden == 896 &&
          a.vision.projector_eps == 1e-5f);
    arch_free(&a);
    CHECK(!read_with(&a, internvl25_1b, "\"select_layer\": -1", "\"select_layer\": -4", &e));
    CHECK(a.vision.layers == 24 && a.vision.layers_used == 21);
    arch_free(&a);
    CHECK(!read_with(&a, internvl25_1b, "\"ps_version\": \"v2\",", "", &e));
    CHECK(a.vision.shuffle_transposed);
    arch_free(&a);
    check_refused(internvl25_1b, "Qwen2ForCausalLM", "InternLM2ForCausalLM",
                  "the architecture InternLM2ForCausalLM is not supported");
    check_refused(internvl25_1b, "\"select_layer\": -1", "\"select_layer\": 25",
                  "select_layer is 25; expected a layer number from -25 to 24");
    check_refused(internvl25_1b, "\"downsample_ratio\": 0.5", "\"downsample_ratio\": 0.4",
                  "downsample_ratio is 0.4");
    check_refused(internvl25_1b, "\"v2\"", "\"v3\"", "ps_version is \"v3\"; expected v1 or v2");
    check_refused(internvl25_1b, "\"qkv_bias\": true", "\"qkv\": true", "qkv_bias is missing");
    check_refused(internvl25_1b, "\"image_size\": 448,", "", "image_size is missing");
    check_refused(internvl25_1b, "\"image_size\": 448", "\"image_size\": [448, 224]",
                  "image_size is [448,224]; expected equal height and width");
    check_refused(internvl25_1b, "llm_config", "lm_config", "expected text_config or llm_config");
}

/* Missing keys have the class's defaults; tie_word_embeddings counts at the top level. */
static void check_transformers(void)
{
    struct arch a;
    struct error e;
    CHECK(!read_with(&a, internvl_native, "", "", &e));
    CHECK(a.tied_embeddings && a.vision.position_grid == 32 && a.vision.layers == 24 &&
          a.vision.qkv_bias && a.vision.final_norm && !a.vision.shuffle_transposed &&
          a.vision.image_token_id == 151667);
    CHECK(a.rope.type == ROPE_DYNAMIC && a.rope.original_positions == 32768 &&
          a.max_positions == 65536);
    arch_free(&a);
    CHECK(!read_with(&a, internvl_native, "\"model_type\": \"internvl\",",
                     "\"model_type\": \"internvl\", \"tie_word_embeddings\": false,", &e));
    CHECK(!a.tied_embeddings);
    arch_free(&a);
    check_refused(internvl_native, "\"use_mean_pooling\"",
                  "\"use_absolute_position_embeddings\": false, \"use_mean_pooling\"",
                  "use_absolute_position_embeddings is false; expected true");
    check_refused(internvl_native, "\"vision_config\"",
                  "\"vision_feature_select_strategy\": \"full\", \"vision_config\"",
                  "vision_feature_select_strategy is \"full\"; expected default");
}

/* ---- names ----------------------------------------------------------------------------------- */

static void check_plain(const char *name, const char *expected)
{
    char plain[NAME_SCHEME_MAX_NAME];
    CHECK(name_scheme_to_canonical(name, plain));
    if (strcmp(plain, expected) != 0)
        fprintf(stderr, "%s: %s, not %s\n", name, plain, expected);
    CHECK(strcmp(plain, expected) == 0);
}

static void check_layouts(void)
{
    const char *const q = "text.layers.3.self_attn.q_proj.weight";
    check_plain("model.layers.3.self_attn.q_proj.weight", q);
    check_plain("model.language_model.layers.3.self_attn.q_proj.weight", q);
    check_plain("language_model.layers.3.self_attn.q_proj.weight", q);
    check_plain("language_model.model.layers.3.self_attn.q_proj.weight", q);
    check_plain("lm_head.weight", "head.weight");
    check_plain("language_model.lm_head.weight", "head.weight");
    check_plain("visual.blocks.31.attn.qkv.bias", "vision.layers.31.attn.qkv.bias");
    check_plain("model.visual.merger.mlp.2.weight", "projector.out.weight");
    check_plain("vision_model.encoder.layers.12.ls2", "vision.layers.12.ls2");
    check_plain("model.vision_tower.encoder.layer.12.lambda_2", "vision.layers.12.ls2");
    check_plain("vision_tower.encoder.layer.0.attention.projection_layer.bias",
                "vision.layers.0.attn.proj.bias");
    check_plain("model.multi_modal_projector.layer_norm.weight", "projector.norm.weight");
    check_plain("mlp1.0.weight", "projector.norm.weight");
    check_plain("transformer.h.0.attn.c_attn.weight", "transformer.h.0.attn.c_attn.weight");
    CHECK(name_scheme_qkv_kind("vision.layers.0.attn.qkv.weight") == NAME_SCHEME_FUSED_QKV);
    CHECK(name_scheme_qkv_kind("vision.layers.0.attn.v_proj.bias") == NAME_SCHEME_SPLIT_QKV);
    CHECK(name_scheme_qkv_kind("vision.layers.0.attn.q_norm.weight") == NAME_SCHEME_NOT_QKV);
    CHECK(name_scheme_qkv_kind(q) == NAME_SCHEME_NOT_QKV);
}

int main(void)
{
    check_qwen2vl();
    check_qwen2vl_7b();
    check_internvl();
    check_transformers();
    check_layouts();
    return unit_end();
}
