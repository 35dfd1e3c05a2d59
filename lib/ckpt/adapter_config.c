#include "adapter_config.h"

#include "mem.h"
#include "module_pattern.h"
#include "strict_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_RANK  8 /* peft.LoraConfig */
#define DEFAULT_ALPHA 8

/* An entry of rank_pattern, alpha_pattern or trainable_token_indices. */
struct entry {
    struct module_pattern *pattern; /* NULL: every module */
    int64_t rank;
    double alpha;
    size_t n;
    int64_t *indices;
};

struct entries {
    struct entry *list; /* in the order of the file: the first that matches counts */
    size_t n;
};

struct adapter_config {
    int64_t rank;
    double alpha;
    bool uses_rslora, uses_dora, ties_weights;
    struct entries ranks, alphas, tokens;
};

/* ---- what is not plain LoRA ------------------------------------------------------------------ */

/* Settings of which only the default means plain LoRA on the base's own weights. */
static const char *const refused_settings[] = {"layer_replication", "use_qalora",
                                               "arrow_config",      "kasa_config",
                                               "use_bdlora",        "alora_invocation_tokens",
                                               "target_parameters", "megatron_config",
                                               "monteclora_config", "velora_config"};

/* Initializations that change the base's weights. */
static const char *const base_changing[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};

static bool is_set(const json_t *value)
{
    return value && !json_is_null(value) && !json_is_false(value) &&
           !(json_is_array(value) && json_array_size(value) == 0) &&
           !(json_is_object(value) && json_object_size(value) == 0) &&
           !(json_is_string(value) && json_string_length(value) == 0) &&
           !(json_is_number(value) && json_number_value(value) == 0);
}

static int check_supported(const char *file, const json_t *root, struct error *e)
{
    const json_t *type = json_object_get(root, "peft_type");
    const char *name = json_string_value(type);
    const char *init = json_string_value(json_object_get(root, "init_lora_weights"));
    if (!name)
        return error_set(e, "%s has no peft_type; expected LORA", file);
    if (strcmp(name, "LORA") != 0)
        return error_set(e, "%s: adapters of peft_type %.100s are not supported, only LORA", file,
                         name);
    for (size_t i = 0; i < sizeof refused_settings / sizeof *refused_settings; i++)
        if (is_set(json_object_get(root, refused_settings[i])))
            return error_set(e, "%s: adapters with %s are not supported", file,
                             refused_settings[i]);
    for (size_t i = 0; init && i < sizeof base_changing / sizeof *base_changing; i++)
        if (strncasecmp(init, base_changing[i], strlen(base_changing[i])) == 0)
            return error_set(e,
                             "%s: init_lora_weights %.100s changed the weights of the base; save "
                             "the adapter with peft's path_initial_model_for_weight_conversion",
                             file, init);
    return 0;
}

/* ---- values ---------------------------------------------------------------------------------- */

static int read_flag(const char *file, const json_t *root, const char *key, bool *flag,
                     struct error *e)
{
    const json_t *value = json_object_get(root, key);
    *flag = json_is_true(value);
    if (!value || json_is_boolean(value) || json_is_null(value))
        return 0;
    return error_set(e, "%s: %s is not true or false", file, key);
}

static int check_rank(const char *file, const json_t *value, const char *key, struct error *e)
{
    return json_is_integer(value)
               ? 0
               : error_set(e, "%s: the rank in %s is not a whole number", file, key);
}

static int check_alpha(const char *file, const json_t *value, const char *key, struct error *e)
{
    return json_is_number(value) && isfinite(json_number_value(value))
               ? 0
               : error_set(e, "%s: the alpha in %s is not a number", file, key);
}

static int read_default_rank_and_alpha(struct adapter_config *c, const char *file,
                                       const json_t *root, struct error *e)
{
    const json_t *rank = json_object_get(root, "r"), *alpha = json_object_get(root, "lora_alpha");
    if ((rank && check_rank(file, rank, "r", e)) ||
        (alpha && check_alpha(file, alpha, "lora_alpha", e)))
        return -1;
    c->rank = rank ? json_integer_value(rank) : DEFAULT_RANK;
    c->alpha = alpha ? json_number_value(alpha) : DEFAULT_ALPHA;
    return 0;
}

/* ---- patterns -------------------------------------------------------------------------------- */

static int read_indices(const char *file, const json_t *list, struct entry *to, struct error *e)
{
    size_t i;
    json_t *value;
    if (!json_is_array(list))
        return error_set(e, "%s: trainable_token_indices is not a list of whole numbers", file);
    to->n = json_array_size(list);
    to->indices = mem_alloc(to->n + 1, sizeof *to->indices);
    json_array_foreach(list, i, value)
    {
        to->indices[i] = json_integer_value(value);
        if (!json_is_integer(value) || to->indices[i] < 0)
            return error_set(e,
                             "%s: trainable_token_indices has a value that is not a whole number "
                             "of at least 0",
                             file);
    }
    return 0;
}

/* Reads the value of an entry of the object `key`. */
static int read_value(const char *file, const char *key, const json_t *value, struct entry *to,
                      struct error *e)
{
    if (strcmp(key, "trainable_token_indices") == 0)
        return read_indices(file, value, to, e);
    to->rank = json_integer_value(value);
    to->alpha = json_number_value(value);
    return strcmp(key, "rank_pattern") == 0 ? check_rank(file, value, key, e)
                                            : check_alpha(file, value, key, e);
}

/* jansson iterates in the order of the file. */
static int read_entries(struct entries *to, const char *file, json_t *root, const char *key,
                        struct error *e)
{
    json_t *object = json_object_get(root, key), *value;
    const char *pattern;
    char what[300];
    if (!object || json_is_null(object))
        return 0;
    bool is_list = json_is_array(object) && strcmp(key, "trainable_token_indices") == 0;
    if (!json_is_object(object) && !is_list)
        return error_set(e, "%s: %s is not an object", file, key);
    to->list = mem_alloc(is_list ? 1 : json_object_size(object) + 1, sizeof *to->list);
    if (is_list)
        return read_indices(file, object, &to->list[to->n++], e);
    snprintf(what, sizeof what, "%.200s: %s", file, key);
    json_object_foreach(object, pattern, value)
    {
        struct entry *entry = &to->list[to->n++];
        entry->pattern = module_pattern_new(pattern, what, e);
        if (!entry->pattern || read_value(file, key, value, entry, e))
            return -1;
    }
    return 0;
}

static const struct entry *find_entry(const struct entries *all, const char *module)
{
    for (size_t i = 0; i < all->n; i++)
        if (!all->list[i].pattern || module_pattern_matches(all->list[i].pattern, module))
            return &all->list[i];
    return NULL;
}

static void free_entries(struct entries *all)
{
    for (size_t i = 0; i < all->n; i++) {
        module_pattern_free(all->list[i].pattern);
        free(all->list[i].indices);
    }
    free(all->list);
}

/* ---- the config ------------------------------------------------------------------------------ */

struct adapter_config *adapter_config_parse(const char *file, const char *text, size_t size,
                                            struct error *e)
{
    json_t *root = strict_json_parse(file, "the config", (const unsigned char *)text, size, e);
    if (!root)
        return NULL;
    struct adapter_config *c = mem_alloc(1, sizeof *c);
    int failed = check_supported(file, root, e) || read_default_rank_and_alpha(c, file, root, e) ||
                 read_flag(file, root, "use_rslora", &c->uses_rslora, e) ||
                 read_flag(file, root, "use_dora", &c->uses_dora, e) ||
                 read_flag(file, root, "ensure_weight_tying", &c->ties_weights, e) ||
                 read_entries(&c->ranks, file, root, "rank_pattern", e) ||
                 read_entries(&c->alphas, file, root, "alpha_pattern", e) ||
                 read_entries(&c->tokens, file, root, "trainable_token_indices", e);
    json_decref(root);
    if (!failed)
        return c;
    adapter_config_free(c);
    return NULL;
}

void adapter_config_free(struct adapter_config *c)
{
    if (!c)
        return;
    free_entries(&c->ranks);
    free_entries(&c->alphas);
    free_entries(&c->tokens);
    free(c);
}

int64_t adapter_config_rank(const struct adapter_config *c, const char *module)
{
    const struct entry *own = find_entry(&c->ranks, module);
    return own ? own->rank : c->rank;
}

double adapter_config_scale(const struct adapter_config *c, const char *module)
{
    const struct entry *own = find_entry(&c->alphas, module);
    double rank = (double)adapter_config_rank(c, module);
    return (own ? own->alpha : c->alpha) / (c->uses_rslora ? sqrt(rank) : rank);
}

bool adapter_config_uses_dora(const struct adapter_config *c)
{
    return c->uses_dora;
}

bool adapter_config_ties_weights(const struct adapter_config *c)
{
    return c->ties_weights;
}

const int64_t *adapter_config_token_indices(const struct adapter_config *c, const char *module,
                                            size_t *n)
{
    const struct entry *own = find_entry(&c->tokens, module);
    *n = own ? own->n : 0;
    return own ? own->indices : NULL;
}
