#include "arch.h"

#include "config_json.h"
#include "mem.h"
#include "vision_config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POSITIONS_MOST (1 << 30)

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* What is true of all decoders of a kind, and what their configs need not say. */
struct decoder_defaults {
    const char *type;
    size_t vocab, hidden, intermediate, layers, heads, kv_heads; /* 0: as many as heads */
    size_t positions, unwindowed; /* the layers below have no window */
    double eps, theta;
};

static const struct decoder_defaults mistral = {"mistral", 32000,  4096, 14336, 32, 32,
                                                8,         131072, 0,    1e-6,  1e4};
static const struct decoder_defaults llama = {"llama", 32000, 4096, 11008, 32, 32,
                                              0,       2048,  0,    1e-6,  1e4};
static const struct decoder_defaults qwen2 = {"qwen2", 151936, 4096, 22016, 32, 32,
                                              32,      32768,  28,   1e-6,  1e4};
static const struct decoder_defaults qwen2_vl = {"qwen2_vl_text", 152064, 8192, 29568, 80, 64, 8,
                                                 32768,           80,     1e-5, 1e6};

/* A model: its decoder, or those that it may have, and what sees for it. */
struct model_type {
    const char *architecture, *type, *family;
    const struct decoder_defaults *decoder; /* NULL: the config says it, as of a model of its own */
    enum vision_kind vision;
    bool tied; /* where the config does not say it */
};

static const struct model_type all_models[] = {
    {"MistralForCausalLM", "mistral", "mistral", &mistral, VISION_NONE, false},
    {"LlamaForCausalLM", "llama", "llama", &llama, VISION_NONE, false},
    {"Qwen2ForCausalLM", "qwen2", "qwen2", &qwen2, VISION_NONE, false},
    {"Qwen2VLForConditionalGeneration", "qwen2_vl", "qwen2_vl", &qwen2_vl, VISION_QWEN2VL, false},
    {"InternVLChatModel", "internvl_chat", "internvl", NULL, VISION_INTERNVL, false},
    {"InternVLForConditionalGeneration", "internvl", "internvl", NULL, VISION_INTERNVL, true},
};

/* Those that InternVL has inside. */
static const struct model_type *const inner_models = all_models + 1;
#define INNER_MODELS 2

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* ---- the kind of model ----------------------------------------------------------------------- */

/* One of n models. */
static int get_model(const struct source *s, const struct model_type *models, size_t n,
                     const struct model_type **found, struct error *e)
{
    const json_t *list = config_json_value(s, "architectures");
    const char *architecture = json_string_value(json_array_get(list, 0));
    const char *type = config_json_string(s, "model_type");
    const char *name = architecture ? architecture : type;
    char known[256] = "";
    if (!name)
        return error_set(e, "%s: neither architectures nor model_type says what the model is",
                         s->file);
    for (size_t i = 0; i < n; i++) {
        if (is(name, architecture ? models[i].architecture : models[i].type)) {
            *found = &models[i];
            return !type || is(type, models[i].type)
                       ? 0
                       : error_set(e, "%s: the architecture is %s, but model_type is %s", s->file,
                                   name, type);
        }
        size_t at = strlen(known);
        snprintf(known + at, sizeof known - at, "%s%s",
                 i == 0      ? ""
                 : i + 1 < n ? ", "
                             : " and ",
                 models[i].architecture);
    }
    return error_set(e, "%s: the architecture %s is not known here; %s are", s->file, name, known);
}

/* The decoder of a model that sees, and where the config speaks of it: in text_config (transformers
 * 5), in llm_config (InternVL's own), or among all the rest (4). */
static int get_decoder(const struct source *s, const struct model_type *m, struct source *text,
                       const struct decoder_defaults **decoder, struct error *e)
{
    const char *keys[] = {"text_config", "llm_config"};
    const struct model_type *own;
    *text = *s;
    *decoder = m->decoder;
    for (size_t i = 0; i < COUNT(keys) && m->vision != VISION_NONE; i++)
        if (config_json_value(s, keys[i])) {
            text->object = config_json_value(s, keys[i]);
            if (!json_is_object(text->object))
                return config_json_error(s, keys[i], "an object", e);
            break;
        }
    if (m->decoder)
        return 0;
    if (text->object == s->object)
        return error_set(e, "%s: neither text_config nor llm_config speaks of the decoder",
                         s->file);
    if (get_model(text, inner_models, INNER_MODELS, &own, e))
        return -1;
    *decoder = own->decoder;
    return 0;
}

static int check_activation(const struct source *s, struct error *e)
{
    const char *activation = config_json_string(s, "hidden_act");
    if (config_json_value(s, "hidden_act") && (!activation || !is(activation, "silu")))
        return error_set(e, "%s: the activation %s is not known here; silu is", s->file,
                         activation ? activation : "in hidden_act");
    return 0;
}

static int get_sizes(struct arch *a, const struct source *s, const struct decoder_defaults *f,
                     struct error *e)
{
    double eps;
    if (config_json_read_size(s, "vocab_size", CONFIG_JSON_MAX_SIZE, f->vocab, &a->vocab, e) ||
        config_json_read_size(s, "hidden_size", CONFIG_JSON_MAX_SIZE, f->hidden, &a->hidden, e) ||
        config_json_read_size(s, "intermediate_size", CONFIG_JSON_MAX_SIZE, f->intermediate,
                              &a->intermediate, e) ||
        config_json_read_size(s, "num_hidden_layers", CONFIG_JSON_MAX_LAYERS, f->layers, &a->layers,
                              e) ||
        config_json_read_size(s, "num_attention_heads", CONFIG_JSON_MAX_SIZE, f->heads, &a->heads,
                              e) ||
        config_json_read_size(s, "max_position_embeddings", POSITIONS_MOST, f->positions,
                              &a->max_positions, e) ||
        config_json_read_positive(s, "rms_norm_eps", f->eps, &eps, e))
        return -1;
    /* A null means as many as there are heads; a missing key, the class's default. */
    bool said = json_object_get(s->object, "num_key_value_heads");
    size_t kv_heads = said || !f->kv_heads ? a->heads : f->kv_heads;
    bool own_width =
        f != &qwen2_vl && config_json_value(s, "head_dim"); /* which Qwen2-VL ignores */
    if (config_json_read_size(s, "num_key_value_heads", CONFIG_JSON_MAX_SIZE, kv_heads,
                              &a->kv_heads, e))
        return -1;
    a->head_dim = a->hidden / a->heads;
    if (own_width && config_json_read_size(s, "head_dim", 1 << 16, 1, &a->head_dim, e))
        return -1;
    a->eps = (float)eps;
    if (a->heads % a->kv_heads)
        return error_set(e, "%s: %zu attention heads cannot share %zu key and value heads", s->file,
                         a->heads, a->kv_heads);
    if (!own_width && a->hidden % a->heads)
        return error_set(e, "%s: a hidden size of %zu does not go into %zu heads", s->file,
                         a->hidden, a->heads);
    if (a->head_dim < 2 || a->head_dim % 2 || a->heads * a->head_dim > (size_t)CONFIG_JSON_MAX_SIZE)
        return error_set(e, "%s: %zu heads of %zu numbers cannot be computed with", s->file,
                         a->heads, a->head_dim);
    return 0;
}

/* q, k and v have biases in every Qwen2 and in no Mistral, whatever the config says. */
static int get_biases(struct arch *a, const struct source *s, const struct decoder_defaults *f,
                      struct error *e)
{
    bool is_llama = f == &llama;
    if (config_json_read_flag(s, "attention_bias", false, &a->o_bias, e) ||
        config_json_read_flag(s, "mlp_bias", false, &a->mlp_bias, e))
        return -1;
    a->qkv_bias = f == &qwen2 || f == &qwen2_vl || (is_llama && a->o_bias);
    a->o_bias &= is_llama;
    a->mlp_bias &= is_llama;
    const json_t *tensor_parallel = config_json_value(s, "pretraining_tp");
    if (is_llama && tensor_parallel && json_integer_value(tensor_parallel) != 1)
        return error_set(e, "%s: pretraining_tp must be 1 here", s->file);
    return 0;
}

/* ---- sliding windows ------------------------------------------------------------------------- */

/* Qwen2: the layers that layer_types calls sliding, else all from max_window_layers on. */
static int mark_layers(struct arch *a, const struct source *s, const struct decoder_defaults *f,
                       size_t window, struct error *e)
{
    const json_t *types = config_json_value(s, "layer_types");
    size_t first;
    if (config_json_read_count(s, "max_window_layers", CONFIG_JSON_MAX_LAYERS, f->unwindowed,
                               &first, e))
        return -1;
    if (types && json_array_size(types) != a->layers)
        return error_set(e, "%s: layer_types speaks of %zu layers, but there are %zu", s->file,
                         json_array_size(types), a->layers);
    for (size_t i = 0; i < a->layers; i++) {
        const char *type = types        ? json_string_value(json_array_get(types, i))
                           : i >= first ? "sliding_attention"
                                        : "full_attention";
        if (!type || (!is(type, "sliding_attention") && !is(type, "full_attention")))
            return error_set(e, "%s: layer_types knows an attention %s", s->file,
                             type ? type : "that is no text");
        a->sliding_windows[i] = is(type, "sliding_attention") ? window : 0;
    }
    return 0;
}

static int get_windows(struct arch *a, const struct source *s, const struct decoder_defaults *f,
                       struct error *e)
{
    size_t window;
    bool used;
    a->sliding_windows = mem_alloc(a->layers, sizeof *a->sliding_windows);
    if (f == &llama)
        return 0;
    /* A null is a window that is not there; a missing key means the class's default. */
    bool none = json_is_null(json_object_get(s->object, "sliding_window"));
    if (config_json_read_count(s, "sliding_window", (json_int_t)1 << 40, none ? 0 : 4096, &window,
                               e) ||
        config_json_read_flag(s, "use_sliding_window", false, &used, e))
        return -1;
    if (f != &mistral)
        return window && used ? mark_layers(a, s, f, window, e) : 0;
    for (size_t i = 0; i < a->layers; i++)
        a->sliding_windows[i] = window;
    return 0;
}

/* ---- rope ------------------------------------------------------------------------------------ */

static double mscale(double factor, double m)
{
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

static int get_yarn(struct rope_parameters *r, const struct source *s, double positions,
                    struct error *e)
{
    double m, m_all;
    if (config_json_read_positive(s, "factor", positions / r->original_positions, &r->factor, e) ||
        config_json_read_positive(s, "beta_fast", 32, &r->beta_fast, e) ||
        config_json_read_positive(s, "beta_slow", 1, &r->beta_slow, e) ||
        config_json_read_positive(s, "mscale", 0, &m, e) ||
        config_json_read_positive(s, "mscale_all_dim", 0, &m_all, e) ||
        config_json_read_flag(s, "truncate", true, &r->truncate, e))
        return -1;
    double usual =
        m > 0 && m_all > 0 ? mscale(r->factor, m) / mscale(r->factor, m_all) : mscale(r->factor, 1);
    return config_json_read_positive(s, "attention_factor", usual, &r->attention_factor, e);
}

static int get_scaling(struct arch *a, const struct source *s, struct error *e)
{
    static const char *const kinds[] = {"default", "linear", "dynamic", "llama3", "yarn"};
    struct rope_parameters *r = &a->rope;
    const char *kind = config_json_string(s, "rope_type");
    kind = kind ? kind : config_json_string(s, "type");
    kind = kind && !is(kind, "mrope") ? kind : "default";
    size_t i = 0;
    while (i < COUNT(kinds) && !is(kind, kinds[i]))
        i++;
    if (i == COUNT(kinds))
        return error_set(e,
                         "%s: the rope scaling %s is not known here; default, linear, dynamic, "
                         "llama3 and yarn are",
                         s->file, kind);
    r->type = (enum rope_type)i;
    if (r->type == ROPE_DEFAULT)
        return 0;
    if (config_json_read_positive(s, "original_max_position_embeddings", (double)a->max_positions,
                                  &r->original_positions, e))
        return -1;
    if (r->type == ROPE_YARN)
        return get_yarn(r, s, (double)a->max_positions, e);
    if (!config_json_value(s, "factor") ||
        (r->type == ROPE_LLAMA3 &&
         (!config_json_value(s, "low_freq_factor") || !config_json_value(s, "high_freq_factor"))))
        return error_set(e, "%s: a number is missing for the rope scaling %s", s->file, kind);
    if (config_json_read_positive(s, "factor", 1, &r->factor, e) ||
        config_json_read_positive(s, "low_freq_factor", 1, &r->low_freq_factor, e) ||
        config_json_read_positive(s, "high_freq_factor", 4, &r->high_freq_factor, e))
        return -1;
    if (r->type == ROPE_LLAMA3 && r->high_freq_factor <= r->low_freq_factor)
        return error_set(e, "%s: high_freq_factor must be above low_freq_factor", s->file);
    if (r->type == ROPE_DYNAMIC) { /* grows with the sequence, counted from the config's length */
        r->original_positions = (double)a->max_positions;
        a->max_positions = (size_t)fmin(r->factor * r->original_positions, POSITIONS_MOST);
    }
    return 0;
}

/* M-RoPE: of the frequencies, how many take their position from time, height, width. */
static int get_sections(struct arch *a, const struct source *s, struct error *e)
{
    const json_t *sections = config_json_value(s, "mrope_section");
    size_t sum = 0;
    if (json_array_size(sections) != COUNT(a->rope.mrope_section))
        return error_set(e, "%s: mrope_section is not there with three numbers", s->file);
    for (size_t i = 0; i < COUNT(a->rope.mrope_section); i++) {
        json_int_t n = json_integer_value(json_array_get(sections, i));
        if (n < 1 || n > (json_int_t)a->head_dim)
            return config_json_error(s, "mrope_section", "a list of sensible numbers", e);
        sum += a->rope.mrope_section[i] = (size_t)n;
    }
    return sum == a->head_dim / 2
               ? 0
               : error_set(e, "%s: mrope_section has %zu frequencies, but heads of %zu have %zu",
                           s->file, sum, a->head_dim, a->head_dim / 2);
}

/* rope_theta and rope_scaling (transformers 4), or rope_parameters with all of it (5). */
static int get_rope(struct arch *a, const struct source *s, const struct decoder_defaults *f,
                    struct error *e)
{
    const json_t *scaling = config_json_value(s, "rope_scaling");
    struct source in = {s->file, scaling ? scaling : config_json_value(s, "rope_parameters")};
    double theta;
    a->rope = (struct rope_parameters){.type = ROPE_DEFAULT};
    if (in.object && !json_is_object(in.object))
        return config_json_error(s, scaling ? "rope_scaling" : "rope_parameters", "an object", e);
    json_t *object = (json_t *)in.object;
    for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i))
        if (json_is_object(json_object_iter_value(i)))
            return error_set(e, "%s: rope parameters that differ by layer (%s) are not known here",
                             s->file, json_object_iter_key(i));
    if (config_json_read_positive(s, "rope_theta", f->theta, &theta, e) ||
        config_json_read_positive(&in, "rope_theta", theta, &a->rope.theta, e) ||
        (in.object && get_scaling(a, &in, e)))
        return -1;
    return f == &qwen2_vl ? get_sections(a, &in, e) : 0;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* The embedding is the head by the word of the model as a whole; of InternVL's own kind, of its
 * decoder. */
static int get_tied(struct arch *a, const struct source *s, const struct source *text,
                    const struct model_type *m, struct error *e)
{
    bool whole = m->vision != VISION_INTERNVL || m->tied;
    const struct source *says =
        whole && (m->tied || config_json_value(s, "tie_word_embeddings")) ? s : text;
    return config_json_read_flag(says, "tie_word_embeddings", m->tied, &a->tied_embeddings, e);
}

static int read_all(struct arch *a, const struct source *s, struct error *e)
{
    const struct model_type *m = NULL;
    const struct decoder_defaults *f = NULL;
    struct source text;
    if (get_model(s, all_models, COUNT(all_models), &m, e) || get_decoder(s, m, &text, &f, e))
        return -1;
    a->architecture = m->family;
    if (check_activation(&text, e) || get_sizes(a, &text, f, e) || get_biases(a, &text, f, e) ||
        get_tied(a, s, &text, m, e) || get_windows(a, &text, f, e) || get_rope(a, &text, f, e))
        return -1;
    return vision_config(&a->vision, s, m->type, a->hidden, e);
}

int arch_config_read(struct arch *a, const char *file, const char *text, size_t size, bool *twice,
                     struct error *e)
{
    json_error_t why = {.text = "it is something else"};
    json_t *config = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    *twice = !config;
    if (!config) /* the last of two equal keys counts, as in Python */
        config = json_loadb(text, size, 0, &why);
    *a = (struct arch){0};
    struct source s = {file, config};
    int failed = json_is_object(config) ? read_all(a, &s, e)
                                        : error_set(e, "%s is no JSON object: %s", file, why.text);
    json_decref(config);
    if (failed)
        arch_free(a);
    return failed;
}

void arch_free(struct arch *a)
{
    free(a->sliding_windows);
    a->sliding_windows = NULL;
}
