#include "mixture_config.h"

#include "config_slices.h"
#include "mapped_file.h"
#include "strict_json.h"
#include "yaml_file.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define COUNT(a)    (sizeof(a) / sizeof *(a))
#define MAX_EXPERTS 4096

/* What is being read, with the token ids of prompts. */
struct reading {
    struct mixture_config *config;
    const char *prompts_file;
    json_t *prompts; /* NULL: none */
};

static const char *const gate_modes[] = {"hidden", "hidden_avg", "cheap_embed", "random",
                                         "uniform_random"};

const char *mixture_config_gate_mode_name(enum gate_mode mode)
{
    return gate_modes[mode];
}

bool mixture_config_is_random(const struct mixture_config *c)
{
    return c->gate_mode == GATE_RANDOM || c->gate_mode == GATE_UNIFORM_RANDOM;
}

/* ---- prompts --------------------------------------------------------------------------------- */

#define MAX_ID_SIZE 11 /* bytes of a token id with its comma */

/* "1,17,4" */
static const char *format_token_ids(const uint32_t *ids, size_t n, struct arena *a)
{
    char *text = arena_alloc(a, n * MAX_ID_SIZE + 1, 1), *to = text;
    for (size_t i = 0; i < n; i++)
        to += sprintf(to, i ? ",%" PRIu32 : "%" PRIu32, ids[i]);
    return text;
}

/* The ids of a JSON list; NULL if it is not a list of token ids. */
static const char *read_json_token_ids(const json_t *list, struct arena *a)
{
    size_t n = json_array_size(list);
    uint32_t *ids = arena_alloc(a, n, sizeof *ids);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > UINT32_MAX)
            return NULL;
        ids[i] = (uint32_t)json_integer_value(id);
    }
    return n ? format_token_ids(ids, n, a) : NULL;
}

/* A prompt that is a list of token ids. */
static int read_token_ids(const struct yaml_tree *t, const yaml_node_t *list, const char **ids)
{
    size_t n = yaml_tree_list_length(list);
    uint32_t *numbers = arena_alloc(t->a, n, sizeof *numbers);
    for (size_t i = 0; i < n; i++) {
        const yaml_node_t *item = yaml_tree_list_item(t, list, i);
        double id;
        if (yaml_tree_read_number(t, item, "a token id", &id))
            return -1;
        if (!(id >= 0 && id < 0x1p32 && id == floor(id)))
            return yaml_tree_error(t, item, "a token id must be a whole number");
        numbers[i] = (uint32_t)id;
    }
    *ids = format_token_ids(numbers, n, t->a);
    return n ? 0 : yaml_tree_error(t, list, "a prompt is empty");
}

/* A prompt that is a text. */
static int find_token_ids(const struct reading *r, const struct yaml_tree *t,
                          const yaml_node_t *prompt, const char **ids)
{
    const char *text = NULL;
    if (yaml_tree_read_string(t, prompt, "a prompt", &text))
        return -1;
    if (!r->prompts)
        return yaml_tree_error(t, prompt,
                               "prompts are texts: give their token ids with --prompts "
                               "(share/etl/prompt-tokens writes them)");
    *ids = read_json_token_ids(json_object_get(r->prompts, text ? text : ""), t->a);
    return *ids ? 0
                : yaml_tree_error(t, prompt, "%.100s has no token ids for the prompt \"%.100s\"",
                                  r->prompts_file, text ? text : "");
}

/* A list of prompts, or one. */
static int read_prompts(const struct reading *r, const struct yaml_tree *t, const yaml_node_t *map,
                        const char *key, struct prompt_list *prompts)
{
    const yaml_node_t *list = yaml_tree_find_key(t, map, key);
    if (!list || mixture_config_is_random(r->config))
        return 0;
    if (yaml_tree_expect_type(t, list, YAML_SEQUENCE_NODE, key))
        return -1;
    size_t n = yaml_tree_list_length(list);
    prompts->ids = arena_alloc(t->a, n, sizeof *prompts->ids);
    for (; prompts->n < n; prompts->n++) {
        const yaml_node_t *item = yaml_tree_list_item(t, list, prompts->n);
        const char **ids = &prompts->ids[prompts->n];
        if (yaml_tree_is_list(item) ? read_token_ids(t, item, ids)
                                    : find_token_ids(r, t, item, ids))
            return -1;
    }
    return 0;
}

/* ---- experts --------------------------------------------------------------------------------- */

static int read_scale(const struct yaml_tree *t, const yaml_node_t *map, const char *key,
                      double low, double *x)
{
    const yaml_node_t *node = yaml_tree_find_key(t, map, key);
    if (!node)
        return 0;
    if (yaml_tree_read_number(t, node, key, x))
        return -1;
    return isfinite(*x) && *x >= low ? 0
                                     : yaml_tree_error(t, node, "%s must be a finite number%s", key,
                                                       low == 0 ? ", not below 0" : "");
}

static int read_expert(const struct reading *r, const struct yaml_tree *t, const yaml_node_t *map,
                       struct mixture_expert *x)
{
    static const char *const known[] = {"source_model", "positive_prompts", "negative_prompts",
                                        "residual_scale", "noise_scale"};
    *x = (struct mixture_expert){.line = yaml_tree_line(map), .residual_scale = 1};
    if (yaml_tree_expect_type(t, map, YAML_MAPPING_NODE, "an expert"))
        return -1;
    yaml_tree_check_keys(t, map, COUNT(known), known);
    const yaml_node_t *model = yaml_tree_find_key(t, map, "source_model");
    if (!model)
        return yaml_tree_error(t, map, "source_model is missing");
    return config_slices_read_model_path(t, model, "source_model", &x->model) ||
                   read_prompts(r, t, map, "positive_prompts", &x->positive) ||
                   read_prompts(r, t, map, "negative_prompts", &x->negative) ||
                   read_scale(t, map, "residual_scale", -INFINITY, &x->residual_scale) ||
                   read_scale(t, map, "noise_scale", 0, &x->noise_scale)
               ? -1
               : 0;
}

static int read_experts(const struct reading *r, const struct yaml_tree *t, const yaml_node_t *map,
                        const char *key, struct mixture_expert **experts, size_t *n)
{
    const yaml_node_t *list = yaml_tree_find_key(t, map, key);
    if (!list)
        return 0;
    if (yaml_tree_expect_type(t, list, YAML_SEQUENCE_NODE, key))
        return -1;
    *n = yaml_tree_list_length(list);
    if (*n > MAX_EXPERTS)
        return yaml_tree_error(t, list, "%s has more than %d entries", key, MAX_EXPERTS);
    *experts = arena_alloc(t->a, *n, sizeof **experts);
    for (size_t i = 0; i < *n; i++)
        if (read_expert(r, t, yaml_tree_list_item(t, list, i), &(*experts)[i]))
            return -1;
    return 0;
}

/* ---- other keys ------------------------------------------------------------------------------ */

static int read_gate_mode(const struct yaml_tree *t, const yaml_node_t *map,
                          struct mixture_config *c)
{
    const yaml_node_t *node = yaml_tree_find_key(t, map, "gate_mode");
    const char *name = "hidden";
    if (node && yaml_tree_read_string(t, node, "gate_mode", &name))
        return -1;
    if (strcmp(name, "hidden_last") == 0)
        name = "hidden";
    for (size_t i = 0; i < COUNT(gate_modes); i++)
        if (strcmp(name, gate_modes[i]) == 0) {
            c->gate_mode = (enum gate_mode)i;
            return 0;
        }
    return yaml_tree_error(t, node,
                           "unknown gate_mode %.60s; expected hidden, hidden_last, hidden_avg, "
                           "cheap_embed, random or uniform_random",
                           name);
}

/* A prefix of a name, in any case. */
static int read_architecture(const struct yaml_tree *t, const yaml_node_t *map,
                             struct mixture_config *c)
{
    static const char *const names[] = {[MOE_MIXTRAL] = "mixtral",
                                        [MOE_QWEN2] = "qwen moe",
                                        [MOE_QWEN3] = "qwen3 moe",
                                        [MOE_DEEPSEEK] = "deepseek moe"};
    const yaml_node_t *node = yaml_tree_find_key(t, map, "architecture");
    const char *name = "";
    c->architecture = -1;
    if (!node)
        return 0;
    if (yaml_tree_read_string(t, node, "architecture", &name))
        return -1;
    for (size_t i = 0; i < COUNT(names) && *name; i++)
        if (strncasecmp(names[i], name, strlen(name)) == 0) {
            c->architecture = (long)i;
            return 0;
        }
    return yaml_tree_error(
        t, node,
        "unknown architecture %.60s; expected mixtral, deepseek moe, qwen moe or "
        "qwen3 moe",
        name);
}

static int read_experts_per_token(const struct yaml_tree *t, const yaml_node_t *map,
                                  struct mixture_config *c)
{
    const yaml_node_t *node = yaml_tree_find_key(t, map, "experts_per_token");
    double n = 2;
    if (node && yaml_tree_read_number(t, node, "experts_per_token", &n))
        return -1;
    c->experts_per_token = n >= 1 && n <= (double)c->n_experts ? (size_t)n : 0;
    return n >= 1 && n == (double)c->experts_per_token
               ? 0
               : yaml_tree_error(t, node ? node : map,
                                 "experts_per_token is %g; expected a whole number from 1 to the "
                                 "number of experts, %zu",
                                 n, c->n_experts);
}

/* ---- checks ---------------------------------------------------------------------------------- */

static bool are_equal_lists(const struct prompt_list *a, const struct prompt_list *b)
{
    bool equal = a->n == b->n;
    for (size_t i = 0; i < a->n && equal; i++)
        equal = strcmp(a->ids[i], b->ids[i]) == 0;
    return equal;
}

/* Experts with equal prompts would have equal rows; experts of one model are no mixture. random
 * routers have no prompts, and mergekit does not check their models. */
static int check_experts_differ(const struct mixture_config *c, struct error *e)
{
    bool same_model = true, same_prompts = true;
    for (size_t i = 0; i < c->n_experts; i++) {
        const struct mixture_expert *x = &c->experts[i], *first = &c->experts[0];
        if (x->positive.n == 0)
            return error_set(e,
                             "%.200s, line %zu: positive_prompts is missing or empty; gate_mode "
                             "%s needs it",
                             c->path, x->line, gate_modes[c->gate_mode]);
        same_model &= strcmp(x->model, first->model) == 0;
        same_prompts &= are_equal_lists(&x->positive, &first->positive) &&
                        are_equal_lists(&x->negative, &first->negative);
    }
    if (c->n_experts > 1 && same_prompts)
        return error_set(e, "%.200s, line %zu: all experts have the same prompts", c->path,
                         c->line);
    return c->n_experts > 1 && same_model ? error_set(e, "%.200s, line %zu: all experts are %s",
                                                      c->path, c->line, c->experts[0].model)
                                          : 0;
}

/* ---- the document ---------------------------------------------------------------------------- */

static int read_document(void *context, struct yaml_tree *t, const yaml_node_t *map)
{
    static const char *const known[] = {"base_model",   "gate_mode",         "dtype",
                                        "experts",      "experts_per_token", "shared_experts",
                                        "architecture", "merge_method"};
    const struct reading *r = context;
    struct mixture_config *c = r->config;
    if (yaml_tree_validate(t, map, 0) ||
        yaml_tree_expect_type(t, map, YAML_MAPPING_NODE, "a configuration"))
        return -1;
    if (c->line)
        return yaml_tree_error(t, map, "expected one document");
    yaml_tree_check_keys(t, map, COUNT(known), known);
    c->line = yaml_tree_line(map);
    const yaml_node_t *base = yaml_tree_find_key(t, map, "base_model");
    if (!base)
        return yaml_tree_error(t, map, "base_model is missing");
    if (config_slices_read_model_path(t, base, "base_model", &c->base) ||
        read_gate_mode(t, map, c) || read_architecture(t, map, c) ||
        yaml_tree_read_dtype(t, map, "dtype", &c->dtype) ||
        read_experts(r, t, map, "experts", &c->experts, &c->n_experts) ||
        read_experts(r, t, map, "shared_experts", &c->shared, &c->n_shared))
        return -1;
    if (c->n_experts == 0)
        return yaml_tree_error(t, map, "experts is missing or empty");
    return read_experts_per_token(t, map, c);
}

static int read_prompts_file(struct reading *r, struct error *e)
{
    struct mapped_file m;
    if (!r->prompts_file)
        return 0;
    if (mapped_file_open(&m, r->prompts_file, NULL, NULL, e))
        return -1;
    r->prompts = strict_json_parse(r->prompts_file, "the file", m.bytes, m.size, e);
    mapped_file_close(&m);
    return r->prompts ? 0 : -1;
}

int mixture_config_read(struct mixture_config *c, const char *path, const char *prompts,
                        const char *tool, struct arena *a, struct error *e)
{
    struct reading r = {.config = c, .prompts_file = prompts};
    *c = (struct mixture_config){.path = yaml_file_name(path), .dtype = DTYPE_NONE};
    int failed = read_prompts_file(&r, e) || yaml_file_read(path, tool, read_document, &r, a, e) ||
                 (!mixture_config_is_random(c) && check_experts_differ(c, e));
    json_decref(r.prompts);
    return failed ? -1 : 0;
}

static int look_for_experts(void *found, struct yaml_tree *t, const yaml_node_t *map)
{
    *(bool *)found = map->type == YAML_MAPPING_NODE && yaml_tree_find_key(t, map, "experts") &&
                     !yaml_tree_find_key(t, map, "merge_method");
    return -1; /* the first document is enough */
}

bool mixture_config_is_mixture(const char *path)
{
    struct stat st;
    struct arena a = {0};
    struct error e;
    bool found = false;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
        yaml_file_read(path, "", look_for_experts, &found, &a, &e);
    arena_free(&a);
    return found;
}
