#include "model_config.h"

#include <string.h>

const char *const model_config_text_sections[] = {"text_config", "llm_config", NULL};
const char *const model_config_layer_keys[] = {"num_hidden_layers", "n_layer", "n_layers",
                                               "num_layers", NULL};

json_t *model_config_parse(const char *text, size_t size, bool *has_duplicates)
{
    json_t *strict = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    json_t *config = strict ? strict : json_loadb(text, size, 0, NULL);
    *has_duplicates = !strict && config;
    if (json_is_object(config))
        return config;
    json_decref(config);
    return NULL;
}

json_int_t model_config_text_integer(json_t *config, const char *key)
{
    for (size_t i = 0; model_config_text_sections[i]; i++) {
        json_t *number =
            json_object_get(json_object_get(config, model_config_text_sections[i]), key);
        if (json_is_integer(number))
            return json_integer_value(number);
    }
    json_t *number = json_object_get(config, key);
    return json_is_integer(number) ? json_integer_value(number) : -1;
}

long model_config_layer_count(const char *text, size_t size)
{
    bool has_duplicates;
    json_t *config = model_config_parse(text, size, &has_duplicates);
    json_int_t layers = -1;
    for (size_t i = 0; config && layers < 0 && model_config_layer_keys[i]; i++)
        layers = model_config_text_integer(config, model_config_layer_keys[i]);
    json_decref(config);
    return layers > 0 ? (long)layers : 0;
}

/* Types of models whose head is a tensor of its own unless the config says otherwise (transformers
 * 4.57, and older ones with code of their own). All other types are tied then. */
/* clang-format off */
static const char *const untied_types[] = {
    "Glm4vMoe_text", "apertus", "arcee", "aria_text", "bamba", "bitnet", "blt", "chameleon",
    "codegen", "csm", "dbrx", "deepseek_v2", "deepseek_v3", "diffllama", "doge", "dots1",
    "emu3_text_model", "exaone4", "falcon_h1", "flex_olmo", "fuyu", "glm", "glm4", "glm4_moe",
    "glm4v_text", "gpt_neox", "gpt_oss", "gptj", "granite", "granitemoe", "granitemoehybrid",
    "granitemoeshared", "helium", "hunyuan_v1_dense", "hunyuan_v1_moe", "idefics", "idefics2",
    "idefics3", "internlm", "internlm2", "internlm3", "internvl_chat", "jamba", "llama", "llama4",
    "llama4_text", "llava_next", "llava_next_video", "llava_onevision", "longcat_flash", "mamba2",
    "minimax", "ministral", "mistral", "mixtral", "mllama_text_model", "mt5", "nemotron", "olmo",
    "olmo2", "olmo3", "olmoe", "persimmon", "phi", "phi3", "phi4_multimodal", "phimoe", "qwen",
    "qwen2", "qwen2_5_omni_text", "qwen2_5_vl", "qwen2_5_vl_text", "qwen2_moe", "qwen2_vl",
    "qwen2_vl_text", "qwen3", "qwen3_moe", "qwen3_next", "qwen3_omni_moe_text", "qwen3_vl",
    "qwen3_vl_moe", "qwen3_vl_moe_text", "qwen3_vl_text", "rwkv", "seed_oss", "smolvlm",
    "stablelm", "xlstm"};
/* clang-format on */

static bool is_untied_type(json_t *config)
{
    const char *type = json_string_value(json_object_get(config, "model_type"));
    for (size_t i = 0; type && i < sizeof untied_types / sizeof *untied_types; i++)
        if (strcmp(type, untied_types[i]) == 0)
            return true;
    return false;
}

/* What holds for the type of the model, or of its text section. */
static enum tied_embeddings find_default_of_type(json_t *config)
{
    bool untied = is_untied_type(config);
    for (size_t i = 0; model_config_text_sections[i]; i++)
        untied |= is_untied_type(json_object_get(config, model_config_text_sections[i]));
    return untied                                                  ? TIED_EMBEDDINGS_NO
           : json_is_string(json_object_get(config, "model_type")) ? TIED_EMBEDDINGS_YES
                                                                   : TIED_EMBEDDINGS_UNKNOWN;
}

enum tied_embeddings model_config_tied_embeddings(const char *text, size_t size)
{
    bool has_duplicates;
    json_t *config = model_config_parse(text, size, &has_duplicates);
    json_t *flag = json_object_get(config, "tie_word_embeddings");
    for (size_t i = 0; !flag && model_config_text_sections[i]; i++)
        flag = json_object_get(json_object_get(config, model_config_text_sections[i]),
                               "tie_word_embeddings");
    enum tied_embeddings tied = json_is_true(flag)    ? TIED_EMBEDDINGS_YES
                                : json_is_false(flag) ? TIED_EMBEDDINGS_NO
                                                      : find_default_of_type(config);
    json_decref(config);
    return tied;
}
