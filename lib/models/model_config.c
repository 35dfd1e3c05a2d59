#include "model_config.h"

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

bool model_config_ties_embeddings(const char *text, size_t size)
{
    bool has_duplicates;
    json_t *config = model_config_parse(text, size, &has_duplicates);
    json_t *flag = json_object_get(config, "tie_word_embeddings");
    for (size_t i = 0; !flag && model_config_text_sections[i]; i++)
        flag = json_object_get(json_object_get(config, model_config_text_sections[i]),
                               "tie_word_embeddings");
    bool tied = json_is_true(flag);
    json_decref(config);
    return tied;
}
