#include "gguf_config.h"

#include "gguf_sizes.h"
#include "little_endian.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of Llama 3.1, the only values in use; a file has only the factors that they lead to. */
#define LOW_FREQUENCY_FACTOR  1.0
#define HIGH_FREQUENCY_FACTOR 4.0
#define ORIGINAL_CONTEXT      8192.0

static const char *file_name(const struct gguf_model *m)
{
    return m->files[0].file;
}

/* The dtype of all matrices if it is BF16 or F16; else F32, as which the others are read. */
static enum dtype find_common_dtype(const struct gguf_model *m)
{
    enum dtype common = DTYPE_NONE;
    for (size_t f = 0; f < m->n_files; f++)
        for (size_t i = 0; i < m->files[f].n; i++) {
            const struct gguf_tensor *t = &m->files[f].tensors[i];
            enum dtype d = ggml_type_find(t->type)->dtype;
            if (t->rank < 2)
                continue;
            if ((d != DTYPE_BF16 && d != DTYPE_F16) || (common != DTYPE_NONE && d != common))
                return DTYPE_F32;
            common = d;
        }
    return common == DTYPE_NONE ? DTYPE_F32 : common;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void set_integer(json_t *config, const char *key, uint64_t x)
{
    json_object_set_new(config, key, json_integer((json_int_t)x));
}

/* With the fewest digits from which the same F32 is read. */
static void set_real(json_t *config, const char *key, float x)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)x);
        if (strtof(text, NULL) == x)
            break;
    }
    json_object_set_new(config, key, json_real(strtod(text, NULL)));
}

static int find_real_setting(const struct gguf_model *m, const char *key, float *x, struct error *e)
{
    char *full = mem_printf("%s.%s", m->architecture, key);
    int found = gguf_metadata_find_f32(gguf_model_metadata(m), full, x, e);
    if (found > 0 && !(*x > 0 && isfinite(*x)))
        found = error_set(e, "%s: metadata %s is %g", file_name(m), full, (double)*x);
    free(full);
    return found;
}

/* ---- rotary embeddings ----------------------------------------------------------------------- */

/* The factor by which Llama 3.1 divides frequency j. */
static double llama3_factor(double theta, double factor, size_t j, uint64_t head_dim)
{
    double wavelength = 2 * M_PI * pow(theta, 2.0 * (double)j / (double)head_dim);
    if (wavelength < ORIGINAL_CONTEXT / HIGH_FREQUENCY_FACTOR)
        return 1;
    if (wavelength > ORIGINAL_CONTEXT / LOW_FREQUENCY_FACTOR)
        return factor;
    double smooth = (ORIGINAL_CONTEXT / wavelength - LOW_FREQUENCY_FACTOR) /
                    (HIGH_FREQUENCY_FACTOR - LOW_FREQUENCY_FACTOR);
    return 1 / ((1 - smooth) / factor + smooth);
}

static float f32_at(const unsigned char *p)
{
    uint32_t bits = (uint32_t)little_endian_read(p, 4);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Sets rope_scaling from rope_freqs.weight, if the parameters of Llama 3.1 lead to it. */
static int add_llama3_scaling(const struct gguf_model *m, const struct gguf_sizes *s, float theta,
                              json_t *config, struct error *e)
{
    const struct gguf_tensor *t = m->rope_freqs;
    float factor = 1;
    for (size_t j = 0; j < t->shape[0]; j++)
        factor = fmaxf(factor, f32_at(t->data + 4 * j));
    for (size_t j = 0; j < t->shape[0]; j++) {
        double expected = llama3_factor((double)theta, (double)factor, j, s->head_dim);
        double r = (double)f32_at(t->data + 4 * j);
        if (!(fabs(r - expected) <= 1e-5 * expected))
            return error_set(e,
                             "%s: element %zu of rope_freqs.weight is %g, but the rope_scaling of "
                             "Llama 3.1 with the factor %g leads to %g; use a model with a "
                             "config.json",
                             file_name(m), j, r, (double)factor, expected);
    }
    json_t *scaling = json_object();
    json_object_set_new(scaling, "rope_type", json_string("llama3"));
    set_real(scaling, "factor", factor);
    json_object_set_new(scaling, "low_freq_factor", json_real(LOW_FREQUENCY_FACTOR));
    json_object_set_new(scaling, "high_freq_factor", json_real(HIGH_FREQUENCY_FACTOR));
    set_integer(scaling, "original_max_position_embeddings", (uint64_t)ORIGINAL_CONTEXT);
    json_object_set_new(config, "rope_scaling", scaling);
    return 0;
}

/* Sets rope_scaling of the type linear or yarn. */
static int add_scaling_of_type(const struct gguf_model *m, const char *type, json_t *config,
                               struct error *e)
{
    float factor;
    uint64_t context;
    if (strcmp(type, "none") == 0)
        return 0;
    if (strcmp(type, "linear") != 0 && strcmp(type, "yarn") != 0)
        return error_set(e, "%s: rope scaling of the type %.40s is not supported", file_name(m),
                         type);
    int found = find_real_setting(m, "rope.scaling.factor", &factor, e);
    int has_context =
        gguf_model_find_setting(m, "rope.scaling.original_context_length", &context, e);
    if (found < 0 || has_context < 0)
        return -1;
    if (!found)
        return error_set(e, "%s: metadata %s.rope.scaling.factor is missing", file_name(m),
                         m->architecture);
    json_t *scaling = json_object();
    json_object_set_new(scaling, "rope_type", json_string(type));
    set_real(scaling, "factor", factor);
    if (has_context)
        set_integer(scaling, "original_max_position_embeddings", context);
    json_object_set_new(config, "rope_scaling", scaling);
    return 0;
}

static int add_rotary_embeddings(const struct gguf_model *m, const struct gguf_sizes *s,
                                 json_t *config, struct error *e)
{
    float theta = 10000;
    const char *type;
    struct arena a = {0};
    if (find_real_setting(m, "rope.freq_base", &theta, e) < 0)
        return -1;
    set_real(config, "rope_theta", theta);
    char *key = mem_printf("%s.rope.scaling.type", m->architecture);
    int found = gguf_metadata_find_text(gguf_model_metadata(m), key, &type, &a, e);
    free(key);
    int failed = found > 0 ? add_scaling_of_type(m, type, config, e) : found;
    arena_free(&a);
    if (failed || !m->rope_freqs)
        return failed;
    if (json_object_get(config, "rope_scaling"))
        return error_set(e, "%s has both rope_freqs.weight and a rope scaling", file_name(m));
    return add_llama3_scaling(m, s, theta, config, e);
}

/* ---- config.json ----------------------------------------------------------------------------- */

static void add_sizes(const struct gguf_model *m, const struct gguf_sizes *s, json_t *config)
{
    bool is_llama = strcmp(m->architecture, "llama") == 0;
    json_object_set_new(config, "architectures",
                        json_pack("[s]", is_llama ? "LlamaForCausalLM" : "Qwen2ForCausalLM"));
    json_object_set_new(config, "model_type", json_string(m->architecture));
    set_integer(config, "hidden_size", s->hidden);
    set_integer(config, "intermediate_size", s->intermediate);
    set_integer(config, "num_hidden_layers", s->layers);
    set_integer(config, "num_attention_heads", s->heads);
    set_integer(config, "num_key_value_heads", s->kv_heads);
    if (is_llama || s->head_dim * s->heads != s->hidden)
        set_integer(config, "head_dim", s->head_dim);
    set_integer(config, "max_position_embeddings", s->context);
    set_integer(config, "vocab_size", s->vocabulary);
    json_object_set_new(config, "hidden_act", json_string("silu"));
    json_object_set_new(config, "tie_word_embeddings",
                        json_boolean(!gguf_model_find_tensor(m, "output.weight")));
    json_object_set_new(config, "torch_dtype", json_string(dtype_torch_name(find_common_dtype(m))));
}

static int add_norm_and_token_ids(const struct gguf_model *m, json_t *config, struct error *e)
{
    static const char *const keys[][2] = {{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                                          {"tokenizer.ggml.eos_token_id", "eos_token_id"}};
    float epsilon;
    uint64_t id;
    int found = find_real_setting(m, "attention.layer_norm_rms_epsilon", &epsilon, e);
    if (found <= 0)
        return found < 0 ? -1
                         : error_set(e,
                                     "%s: metadata %s.attention.layer_norm_rms_epsilon is "
                                     "missing",
                                     file_name(m), m->architecture);
    set_real(config, "rms_norm_eps", epsilon);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        found = gguf_metadata_find_count(gguf_model_metadata(m), keys[i][0], &id, e);
        if (found < 0)
            return -1;
        if (found && id <= INT32_MAX)
            set_integer(config, keys[i][1], id);
    }
    return 0;
}

/* Do any layers have a bias of this tensor? */
static bool has_bias(const struct gguf_model *m, const char *tensor)
{
    char name[64];
    snprintf(name, sizeof name, "blk.0.%s.bias", tensor);
    return gguf_model_find_tensor(m, name) != NULL;
}

char *gguf_config_json(const struct gguf_model *m, struct error *e)
{
    struct gguf_sizes s = {0};
    char *text = NULL;
    json_t *config = json_object();
    if (gguf_sizes_read(&s, m, e) == 0) {
        add_sizes(m, &s, config);
        if (strcmp(m->architecture, "llama") == 0) {
            json_object_set_new(config, "attention_bias", json_boolean(has_bias(m, "attn_q")));
            json_object_set_new(config, "mlp_bias", json_boolean(has_bias(m, "ffn_gate")));
        }
        if (add_norm_and_token_ids(m, config, e) == 0 &&
            add_rotary_embeddings(m, &s, config, e) == 0)
            text = json_dumps(config, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    }
    json_decref(config);
    return text;
}
