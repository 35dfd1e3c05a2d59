#include "arch.h"

#include "mem.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYERS_MAX     100000
#define POSITIONS_MOST (1 << 30)
#define SIZE_MOST      ((json_int_t)1 << 24) /* of one dimension: no product of two is too large */

/* What is true of all models of a family, and what their configs need not say. */
struct family_traits {
    const char *architecture, *family;
    size_t vocab, hidden, intermediate, layers, heads, kv_heads,
        positions; /* 0: as many as heads */
};

static const struct family_traits families[] = {
    {"MistralForCausalLM", "mistral", 32000, 4096, 14336, 32, 32, 8, 131072},
    {"LlamaForCausalLM", "llama", 32000, 4096, 11008, 32, 32, 0, 2048},
    {"Qwen2ForCausalLM", "qwen2", 151936, 4096, 22016, 32, 32, 32, 32768},
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* The object that is read, and what sentences call the file. */
struct source {
    const char *file;
    const json_t *object;
};

/* NULL where the key is missing or null. */
static const json_t *find(const struct source *s, const char *key)
{
    const json_t *value = json_object_get(s->object, key);
    return json_is_null(value) ? NULL : value;
}

static int wrong(const struct source *s, const char *key, const char *what, struct error *e)
{
    return error_set(e, "%s: %s is not %s", s->file, key, what);
}

/* A whole number, 0 to `most`; `missing` where the key is not given. */
static int get_count(const struct source *s, const char *key, json_int_t most, size_t missing,
                     size_t *to, struct error *e)
{
    const json_t *value = find(s, key);
    *to = missing;
    if (!value)
        return 0;
    json_int_t n = json_is_integer(value) ? json_integer_value(value) : -1;
    if (n < 0 || n > most)
        return wrong(s, key, "a whole number in a sensible range", e);
    *to = (size_t)n;
    return 0;
}

/* The same, but 0 is no size. */
static int get_size(const struct source *s, const char *key, json_int_t most, size_t missing,
                    size_t *to, struct error *e)
{
    if (get_count(s, key, most, missing, to, e))
        return -1;
    return *to ? 0 : wrong(s, key, "a whole number above 0", e);
}

static int get_number(const struct source *s, const char *key, double missing, double *to,
                      struct error *e)
{
    const json_t *value = find(s, key);
    *to = missing;
    if (!value)
        return 0;
    *to = json_number_value(value);
    return json_is_number(value) && isfinite(*to) && *to > 0
               ? 0
               : wrong(s, key, "a positive number", e);
}

static int get_flag(const struct source *s, const char *key, bool missing, bool *to,
                    struct error *e)
{
    const json_t *value = find(s, key);
    *to = value ? json_is_true(value) : missing;
    return !value || json_is_boolean(value) ? 0 : wrong(s, key, "true or false", e);
}

/* NULL where the key is missing or no text. */
static const char *get_text(const struct source *s, const char *key)
{
    return json_string_value(find(s, key));
}

/* ---- the family ------------------------------------------------------------------------------ */

static int get_family(const struct source *s, const struct family_traits **found, struct error *e)
{
    const json_t *list = find(s, "architectures");
    const char *architecture = json_string_value(json_array_get(list, 0));
    const char *type = get_text(s, "model_type");
    const char *name = architecture ? architecture : type;
    if (!name)
        return error_set(e, "%s: neither architectures nor model_type says what the model is",
                         s->file);
    for (size_t i = 0; i < COUNT(families); i++)
        if (is(name, architecture ? families[i].architecture : families[i].family)) {
            *found = &families[i];
            return !type || is(type, families[i].family)
                       ? 0
                       : error_set(e, "%s: the architecture is %s, but model_type is %s", s->file,
                                   name, type);
        }
    return error_set(e,
                     "%s: the architecture %s is not known here; MistralForCausalLM, "
                     "LlamaForCausalLM and Qwen2ForCausalLM are",
                     s->file, name);
}

static int check_activation(const struct source *s, struct error *e)
{
    const char *activation = get_text(s, "hidden_act");
    if (find(s, "hidden_act") && (!activation || !is(activation, "silu")))
        return error_set(e, "%s: the activation %s is not known here; silu is", s->file,
                         activation ? activation : "in hidden_act");
    return 0;
}

static int get_sizes(struct arch *a, const struct source *s, const struct family_traits *f,
                     struct error *e)
{
    double eps;
    if (get_size(s, "vocab_size", SIZE_MOST, f->vocab, &a->vocab, e) ||
        get_size(s, "hidden_size", SIZE_MOST, f->hidden, &a->hidden, e) ||
        get_size(s, "intermediate_size", SIZE_MOST, f->intermediate, &a->intermediate, e) ||
        get_size(s, "num_hidden_layers", LAYERS_MAX, f->layers, &a->layers, e) ||
        get_size(s, "num_attention_heads", SIZE_MOST, f->heads, &a->heads, e) ||
        get_size(s, "max_position_embeddings", POSITIONS_MOST, f->positions, &a->positions, e) ||
        get_number(s, "rms_norm_eps", 1e-6, &eps, e))
        return -1;
    /* A null means as many as there are heads; a missing key, the class's default. */
    bool said = json_object_get(s->object, "num_key_value_heads");
    size_t kv_heads = said || !f->kv_heads ? a->heads : f->kv_heads;
    if (get_size(s, "num_key_value_heads", SIZE_MOST, kv_heads, &a->kv_heads, e) ||
        get_size(s, "head_dim", 1 << 16, a->hidden / a->heads, &a->head_dim, e))
        return -1;
    a->eps = (float)eps;
    if (a->heads % a->kv_heads)
        return error_set(e, "%s: %zu attention heads cannot share %zu key and value heads", s->file,
                         a->heads, a->kv_heads);
    if (!find(s, "head_dim") && a->hidden % a->heads)
        return error_set(e, "%s: a hidden size of %zu does not go into %zu heads", s->file,
                         a->hidden, a->heads);
    if (a->head_dim < 2 || a->head_dim % 2 || a->heads * a->head_dim > (size_t)SIZE_MOST)
        return error_set(e, "%s: %zu heads of %zu numbers cannot be computed with", s->file,
                         a->heads, a->head_dim);
    return 0;
}

/* q, k and v have biases in every Qwen2 and in no Mistral, whatever the config says. */
static int get_biases(struct arch *a, const struct source *s, struct error *e)
{
    bool llama = is(a->family, "llama");
    if (get_flag(s, "attention_bias", false, &a->o_bias, e) ||
        get_flag(s, "mlp_bias", false, &a->mlp_bias, e) ||
        get_flag(s, "tie_word_embeddings", false, &a->tied, e))
        return -1;
    a->qkv_bias = is(a->family, "qwen2") || (llama && a->o_bias);
    a->o_bias &= llama;
    a->mlp_bias &= llama;
    const json_t *tensor_parallel = find(s, "pretraining_tp");
    if (llama && tensor_parallel && json_integer_value(tensor_parallel) != 1)
        return error_set(e, "%s: pretraining_tp must be 1 here", s->file);
    return 0;
}

/* ---- sliding windows ------------------------------------------------------------------------- */

/* Qwen2: the layers that layer_types calls sliding, else all from max_window_layers on. */
static int mark_layers(struct arch *a, const struct source *s, size_t window, struct error *e)
{
    const json_t *types = find(s, "layer_types");
    size_t first;
    if (get_count(s, "max_window_layers", LAYERS_MAX, 28, &first, e))
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
        a->windows[i] = is(type, "sliding_attention") ? window : 0;
    }
    return 0;
}

static int get_windows(struct arch *a, const struct source *s, struct error *e)
{
    size_t window;
    bool used;
    a->windows = mem_alloc(a->layers, sizeof *a->windows);
    if (is(a->family, "llama"))
        return 0;
    /* A null is a window that is not there; a missing key means the class's default. */
    bool none = json_is_null(json_object_get(s->object, "sliding_window"));
    if (get_count(s, "sliding_window", (json_int_t)1 << 40, none ? 0 : 4096, &window, e) ||
        get_flag(s, "use_sliding_window", false, &used, e))
        return -1;
    if (is(a->family, "qwen2"))
        return window && used ? mark_layers(a, s, window, e) : 0;
    for (size_t i = 0; i < a->layers; i++)
        a->windows[i] = window;
    return 0;
}

/* ---- rope ------------------------------------------------------------------------------------ */

static double mscale(double factor, double m)
{
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

static int get_yarn(struct rope_recipe *r, const struct source *s, double positions,
                    struct error *e)
{
    double m, m_all;
    if (get_number(s, "factor", positions / r->original, &r->factor, e) ||
        get_number(s, "beta_fast", 32, &r->fast, e) || get_number(s, "beta_slow", 1, &r->slow, e) ||
        get_number(s, "mscale", 0, &m, e) || get_number(s, "mscale_all_dim", 0, &m_all, e) ||
        get_flag(s, "truncate", true, &r->truncate, e))
        return -1;
    double usual =
        m > 0 && m_all > 0 ? mscale(r->factor, m) / mscale(r->factor, m_all) : mscale(r->factor, 1);
    return get_number(s, "attention_factor", usual, &r->attention_factor, e);
}

static int get_scaling(struct arch *a, const struct source *s, struct error *e)
{
    static const char *const kinds[] = {"default", "linear", "dynamic", "llama3", "yarn"};
    struct rope_recipe *r = &a->rope;
    const char *kind = get_text(s, "rope_type");
    kind = kind ? kind : get_text(s, "type");
    kind = kind ? kind : "default";
    size_t i = 0;
    while (i < COUNT(kinds) && !is(kind, kinds[i]))
        i++;
    if (i == COUNT(kinds))
        return error_set(e,
                         "%s: the rope scaling %s is not known here; default, linear, dynamic, "
                         "llama3 and yarn are",
                         s->file, kind);
    r->kind = (enum rope_kind)i;
    if (r->kind == ROPE_DEFAULT)
        return 0;
    if (get_number(s, "original_max_position_embeddings", (double)a->positions, &r->original, e))
        return -1;
    if (r->kind == ROPE_YARN)
        return get_yarn(r, s, (double)a->positions, e);
    if (!find(s, "factor") ||
        (r->kind == ROPE_LLAMA3 && (!find(s, "low_freq_factor") || !find(s, "high_freq_factor"))))
        return error_set(e, "%s: a number is missing for the rope scaling %s", s->file, kind);
    if (get_number(s, "factor", 1, &r->factor, e) ||
        get_number(s, "low_freq_factor", 1, &r->low, e) ||
        get_number(s, "high_freq_factor", 4, &r->high, e))
        return -1;
    if (r->kind == ROPE_LLAMA3 && r->high <= r->low)
        return error_set(e, "%s: high_freq_factor must be above low_freq_factor", s->file);
    if (r->kind == ROPE_DYNAMIC) { /* grows with the sequence, counted from the config's length */
        r->original = (double)a->positions;
        a->positions = (size_t)fmin(r->factor * r->original, POSITIONS_MOST);
    }
    return 0;
}

/* rope_theta and rope_scaling (transformers 4), or rope_parameters with all of it (5). */
static int get_rope(struct arch *a, const struct source *s, struct error *e)
{
    const json_t *scaling = find(s, "rope_scaling");
    struct source in = {s->file, scaling ? scaling : find(s, "rope_parameters")};
    double theta;
    a->rope = (struct rope_recipe){.kind = ROPE_DEFAULT};
    if (in.object && !json_is_object(in.object))
        return wrong(s, scaling ? "rope_scaling" : "rope_parameters", "an object", e);
    json_t *object = (json_t *)in.object;
    for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i))
        if (json_is_object(json_object_iter_value(i)))
            return error_set(e, "%s: rope parameters that differ by layer (%s) are not known here",
                             s->file, json_object_iter_key(i));
    if (get_number(s, "rope_theta", 10000, &theta, e) ||
        get_number(&in, "rope_theta", theta, &a->rope.theta, e))
        return -1;
    return in.object ? get_scaling(a, &in, e) : 0;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int read_all(struct arch *a, const struct source *s, struct error *e)
{
    const struct family_traits *f = NULL;
    if (get_family(s, &f, e))
        return -1;
    a->family = f->family;
    return check_activation(s, e) || get_sizes(a, s, f, e) || get_biases(a, s, e) ||
                   get_windows(a, s, e) || get_rope(a, s, e)
               ? -1
               : 0;
}

int arch_read(struct arch *a, const char *file, const char *text, size_t size, bool *twice,
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
    free(a->windows);
    a->windows = NULL;
}

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

size_t arch_part_elements(const struct arch *a, enum part part)
{
    size_t rows, columns;
    return arch_part(a, part, &rows, &columns) ? rows * (columns ? columns : 1) : 0;
}

size_t arch_parts_elements(const struct arch *a, struct parts parts)
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
        size_t n = arch_parts_elements(a, all[i]);
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
        [PART_EMBEDDING] = "model.embed_tokens.weight",
        [PART_NORM] = "model.norm.weight",
        [PART_HEAD] = "lm_head.weight",
    };
    if (part < LAYER_PARTS)
        snprintf(name, 96, "model.layers.%zu.%s", layer, names[part]);
    else
        snprintf(name, 96, "%s", names[part]);
    return name;
}
