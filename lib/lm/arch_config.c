#include "arch_config.h"

#include "config_json.h"
#include "decoder_config.h"
#include "vision_config.h"

#include <stdio.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* A supported model: its names in config.json, its decoder and its vision tower. */
struct model_class {
    const char *architecture, *model_type, *arch_name;
    enum decoder_kind decoder; /* DECODER_NESTED: named by text_config or llm_config */
    enum vision_kind vision;
    bool tied_embeddings; /* unless the config says otherwise */
};

static const struct model_class model_classes[] = {
    {"MistralForCausalLM", "mistral", "mistral", DECODER_MISTRAL, VISION_NONE, false},
    {"LlamaForCausalLM", "llama", "llama", DECODER_LLAMA, VISION_NONE, false},
    {"Qwen2ForCausalLM", "qwen2", "qwen2", DECODER_QWEN2, VISION_NONE, false},
    {"Qwen3ForCausalLM", "qwen3", "qwen3", DECODER_QWEN3, VISION_NONE, false},
    {"Qwen2VLForConditionalGeneration", "qwen2_vl", "qwen2_vl", DECODER_QWEN2VL, VISION_QWEN2VL,
     false},
    {"InternVLChatModel", "internvl_chat", "internvl", DECODER_NESTED, VISION_INTERNVL, false},
    {"InternVLForConditionalGeneration", "internvl", "internvl", DECODER_NESTED, VISION_INTERNVL,
     true},
};

/* The decoders of InternVL: Llama and Qwen2. */
static const struct model_class *const nested_decoders = model_classes + 1;
#define NESTED_DECODERS 2

/* ---- the model's class ----------------------------------------------------------------------- */

static int unsupported_architecture_error(const struct config_object *c, const char *name,
                                          const struct model_class *classes, size_t n,
                                          struct error *e)
{
    char supported[256] = "";
    for (size_t i = 0; i < n; i++) {
        size_t at = strlen(supported);
        const char *separator = i == 0 ? "" : i + 1 < n ? ", " : " and ";
        snprintf(supported + at, sizeof supported - at, "%s%s", separator, classes[i].architecture);
    }
    return error_set(e, "%s: the architecture %s is not supported; supported are %s", c->file, name,
                     supported);
}

/* Finds the class that architectures names, or else model_type, among n classes. */
static int find_model_class(const struct config_object *c, const struct model_class *classes,
                            size_t n, const struct model_class **found, struct error *e)
{
    const json_t *list = config_json_value(c, "architectures");
    const char *architecture = json_string_value(json_array_get(list, 0));
    const char *type = config_json_string(c, "model_type");
    const char *name = architecture ? architecture : type;
    if (!name)
        return error_set(e, "%s: neither architectures nor model_type names the architecture",
                         c->file);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(name, architecture ? classes[i].architecture : classes[i].model_type) != 0)
            continue;
        *found = &classes[i];
        return !type || strcmp(type, classes[i].model_type) == 0
                   ? 0
                   : error_set(e, "%s: the architecture is %s, but model_type is %s", c->file, name,
                               type);
    }
    return unsupported_architecture_error(c, name, classes, n, e);
}

/* Finds the object with the decoder's keys in a vision-language model's config: text_config
 * (transformers 5), llm_config (InternVL's own models), or the config itself (transformers 4). */
static int find_text_config(const struct config_object *c, struct config_object *text,
                            struct error *e)
{
    static const char *const keys[] = {"text_config", "llm_config"};
    *text = *c;
    for (size_t i = 0; i < COUNT(keys); i++)
        if (config_json_value(c, keys[i])) {
            text->object = config_json_value(c, keys[i]);
            return json_is_object(text->object) ? 0 : config_json_error(c, keys[i], "an object", e);
        }
    return 0;
}

/* The decoder of InternVL is a model with its own architecture. */
static int find_nested_decoder(const struct config_object *c, const struct config_object *text,
                               enum decoder_kind *decoder, struct error *e)
{
    const struct model_class *nested;
    if (text->object == c->object)
        return error_set(
            e, "%s: the decoder's config is missing; expected text_config or llm_config", c->file);
    if (find_model_class(text, nested_decoders, NESTED_DECODERS, &nested, e))
        return -1;
    *decoder = nested->decoder;
    return 0;
}

/* ---- all of config.json ---------------------------------------------------------------------- */

/* tie_word_embeddings counts at the top level; in InternVL's own models, in the decoder's config.
 */
static int read_tied_embeddings(struct arch *a, const struct config_object *c,
                                const struct config_object *text, const struct model_class *m,
                                struct error *e)
{
    bool top_level = m->vision != VISION_INTERNVL || m->tied_embeddings;
    if (!m->tied_embeddings && !config_json_value(c, "tie_word_embeddings"))
        top_level = false;
    return config_json_read_flag(top_level ? c : text, "tie_word_embeddings", m->tied_embeddings,
                                 &a->tied_embeddings, e);
}

static int read_architecture(struct arch *a, const struct config_object *c, struct error *e)
{
    const struct model_class *m = NULL;
    struct config_object text = *c;
    if (find_model_class(c, model_classes, COUNT(model_classes), &m, e) ||
        (m->vision != VISION_NONE && find_text_config(c, &text, e)))
        return -1;
    enum decoder_kind decoder = m->decoder;
    if (decoder == DECODER_NESTED && find_nested_decoder(c, &text, &decoder, e))
        return -1;
    a->architecture = m->arch_name;
    if (decoder_config_read(a, &text, decoder, e) || read_tied_embeddings(a, c, &text, m, e))
        return -1;
    a->vision.kind = m->vision;
    return m->vision == VISION_NONE ? 0 : vision_config_read(a, c, m->model_type, e);
}

int arch_config_read(struct arch *a, const char *file, const char *text, size_t size,
                     bool *duplicates, struct error *e)
{
    json_error_t why;
    json_t *config = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    *duplicates = !config;
    if (!config)
        config = json_loadb(text, size, 0, &why);
    *a = (struct arch){0};
    struct config_object c = {file, config};
    int failed = -1;
    if (!config)
        error_set(e, "%s is not valid JSON: %s", file, why.text);
    else if (!json_is_object(config))
        error_set(e, "%s is not a JSON object", file);
    else
        failed = read_architecture(a, &c, e);
    json_decref(config);
    if (failed)
        arch_free(a);
    return failed;
}
