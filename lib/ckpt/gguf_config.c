#include "gguf_config.h"

#include "little_endian.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of Llama 3.1, the only values in use; a file has only the factors that they lead to. */
#define LOW_FREQUENCY_FACTOR  1.0
#define HIGH_FREQUENCY_FACTOR 4.0
#define ORIGINAL_CONTEXT      8192.0

/* Sizes of the model. */
struct sizes {
    uint64_t hidden, intermediate, layers, heads, kv_heads, head_dim, context, vocabulary;
};

/* ---- sizes ----------------------------------------------------------------------------------- */

static const char *file_name(const struct gguf_model *m)
{
    return m->files[0].file;
}

/* A setting that must be there and above 0. */
static int read_size(const struct gguf_model *m, const char *key, uint64_t *x, struct error *e)
{
    int found = gguf_model_find_setting(m, key, x, e);
    if (found < 0)
        return -1;
    if (found && *x > 0 && *x <= INT32_MAX)
        return 0;
    return error_set(e, "%s: metadata %s.%s is %s", file_name(m), m->architecture, key,
                     !found ? "missing"
                     : *x   ? "above 2^31 - 1"
                            : "0");
}

/* head_dim has a setting of its own; of two, the first that is there. */
static int read_head_dim(const struct gguf_model *m, struct sizes *s, struct error *e)
{
    int found = gguf_model_find_setting(m, "attention.key_length", &s->head_dim, e);
    if (found == 0)
        found = gguf_model_find_setting(m, "rope.dimension_count", &s->head_dim, e);
    if (found < 0)
        return -1;
    if (!found && s->hidden % s->heads != 0)
        return error_set(e, "%s: %llu heads do not divide the embedding length %llu", file_name(m),
                         (unsigned long long)s->heads, (unsigned long long)s->hidden);
    if (!found)
        s->head_dim = s->hidden / s->heads;
    if (s->head_dim == 0 || s->head_dim > INT32_MAX)
        return error_set(e, "%s: the length of an attention head is %llu", file_name(m),
                         (unsigned long long)s->head_dim);
    return 0;
}

static int read_sizes(const struct gguf_model *m, struct sizes *s, struct error *e)
{
    if (read_size(m, "embedding_length", &s->hidden, e) < 0 ||
        read_size(m, "feed_forward_length", &s->intermediate, e) < 0 ||
        read_size(m, "block_count", &s->layers, e) < 0 ||
        read_size(m, "attention.head_count", &s->heads, e) < 0 ||
        read_size(m, "context_length", &s->context, e) < 0)
        return -1;
    s->kv_heads = m->kv_heads;
    if (s->kv_heads == 0 || s->heads % s->kv_heads != 0)
        return error_set(e, "%s: %llu heads of k and v do not divide %llu heads", file_name(m),
                         (unsigned long long)s->kv_heads, (unsigned long long)s->heads);
    const struct gguf_tensor *embedding = gguf_model_find_tensor(m, "token_embd.weight");
    if (!embedding)
        return error_set(e, "%s has no tensor token_embd.weight", file_name(m));
    s->vocabulary = embedding->shape[0];
    return read_head_dim(m, s, e);
}

/* ---- tensors --------------------------------------------------------------------------------- */

static int check_tensor(const struct gguf_model *m, const struct gguf_tensor *t, const char *name,
                        uint64_t rows, uint64_t columns, struct error *e)
{
    size_t rank = columns ? 2 : 1;
    if (!t)
        return error_set(e, "%s has no tensor %s", file_name(m), name);
    if (t->rank == rank && t->shape[0] == rows && (rank == 1 || t->shape[1] == columns))
        return 0;
    return error_set(e,
                     "%s: tensor %s has %llu rows of %llu elements and rank %zu, but its metadata "
                     "imply %llu, %llu and %zu",
                     file_name(m), name, (unsigned long long)t->shape[0],
                     (unsigned long long)(t->rank > 1 ? t->shape[t->rank - 1] : 0), t->rank,
                     (unsigned long long)rows, (unsigned long long)columns, rank);
}

/* The tensors of the model by their names in the file. */
struct tensor_index {
    const struct gguf_model *model;
    struct name_index names;
    const struct gguf_tensor **tensors;
    struct arena arena;
};

static void index_tensors(struct tensor_index *x)
{
    const struct gguf_model *m = x->model;
    size_t n = 0;
    for (size_t f = 0; f < m->n_files; f++)
        n += m->files[f].n;
    x->tensors = arena_alloc(&x->arena, n, sizeof *x->tensors);
    n = 0;
    for (size_t f = 0; f < m->n_files; f++)
        for (size_t i = 0; i < m->files[f].n; i++, n++) {
            x->tensors[n] = &m->files[f].tensors[i];
            name_index_add(&x->names, x->tensors[n]->name, n, &x->arena);
        }
}

static const struct gguf_tensor *find_tensor(const struct tensor_index *x, const char *name)
{
    long i = name_index_find(&x->names, name);
    return i < 0 ? NULL : x->tensors[i];
}

/* Checks the tensors of a layer. */
static int check_layer(const struct tensor_index *x, const struct sizes *s, uint64_t layer,
                       struct error *e)
{
    uint64_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    const struct {
        const char *name;
        uint64_t rows, columns;
    } tensors[] = {{"attn_norm", s->hidden, 0},
                   {"attn_q", q, s->hidden},
                   {"attn_k", kv, s->hidden},
                   {"attn_v", kv, s->hidden},
                   {"attn_output", s->hidden, q},
                   {"ffn_norm", s->hidden, 0},
                   {"ffn_gate", s->intermediate, s->hidden},
                   {"ffn_up", s->intermediate, s->hidden},
                   {"ffn_down", s->hidden, s->intermediate}};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%llu.%s.weight", (unsigned long long)layer,
                 tensors[i].name);
        if (check_tensor(x->model, find_tensor(x, name), name, tensors[i].rows, tensors[i].columns,
                         e) < 0)
            return -1;
    }
    return 0;
}

static int check_tensors(const struct tensor_index *x, const struct sizes *s, struct error *e)
{
    const struct gguf_model *m = x->model;
    const struct gguf_tensor *head = find_tensor(x, "output.weight");
    char name[64];
    for (uint64_t i = 0; i < s->layers; i++)
        if (check_layer(x, s, i, e) < 0)
            return -1;
    snprintf(name, sizeof name, "blk.%llu.attn_norm.weight", (unsigned long long)s->layers);
    if (find_tensor(x, name))
        return error_set(e, "%s has a tensor %s, but its block_count is %llu", file_name(m), name,
                         (unsigned long long)s->layers);
    if (check_tensor(m, find_tensor(x, "token_embd.weight"), "token_embd.weight", s->vocabulary,
                     s->hidden, e) < 0 ||
        check_tensor(m, find_tensor(x, "output_norm.weight"), "output_norm.weight", s->hidden, 0,
                     e) < 0 ||
        (head && check_tensor(m, head, "output.weight", s->vocabulary, s->hidden, e) < 0))
        return -1;
    return m->rope_freqs
               ? check_tensor(m, m->rope_freqs, "rope_freqs.weight", s->head_dim / 2, 0, e)
               : 0;
}

static int read_and_check_sizes(const struct gguf_model *m, struct sizes *s, struct error *e)
{
    struct tensor_index x = {.model = m};
    if (read_sizes(m, s, e) < 0)
        return -1;
    index_tensors(&x);
    int failed = check_tensors(&x, s, e);
    arena_free(&x.arena);
    return failed;
}

int gguf_config_check_tensors(const struct gguf_model *m, struct error *e)
{
    struct sizes s;
    return read_and_check_sizes(m, &s, e);
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
static int add_llama3_scaling(const struct gguf_model *m, const struct sizes *s, float theta,
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

static int add_rotary_embeddings(const struct gguf_model *m, const struct sizes *s, json_t *config,
                                 struct error *e)
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

static void add_sizes(const struct gguf_model *m, const struct sizes *s, json_t *config)
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
    struct sizes s = {0};
    char *text = NULL;
    json_t *config = json_object();
    if (read_and_check_sizes(m, &s, e) == 0) {
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

/* ---- what pack recorded ---------------------------------------------------------------------- */

int gguf_config_read_recorded_metadata(const struct gguf_model *m, json_t **metadata)
{
    const struct gguf_metadata *all = gguf_model_metadata(m);
    static const char prefix[] = "general.", recorded[] = "general.tvtools_";
    *metadata = json_object();
    for (size_t i = 0; i < all->n; i++) {
        const struct gguf_value *v = &all->values[i];
        if (v->type == GGUF_STRING && strncmp(v->key, recorded, strlen(recorded)) == 0)
            json_object_set_new(*metadata, v->key + strlen(prefix),
                                json_stringn((const char *)v->data, v->data_size));
    }
    if (json_object_size(*metadata) > 0)
        return 1;
    json_decref(*metadata);
    *metadata = NULL;
    return 0;
}
