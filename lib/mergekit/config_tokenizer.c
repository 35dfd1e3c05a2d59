#include "config_tokenizer.h"

#include "config_slices.h"
#include "name_index.h"

#include <math.h>
#include <string.h>

/* ---- the source of a token ------------------------------------------------------------------- */

/* An error if the map has another key than the n of `keys`. */
static int check_keys(const struct yaml_tree *t, const yaml_node_t *map, size_t n,
                      const char *const *keys, const char *what)
{
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_tree_node(t, p->key);
        const char *text = key->type == YAML_SCALAR_NODE ? yaml_tree_scalar_text(key) : "?";
        size_t i = 0;
        while (i < n && strcmp(keys[i], text) != 0)
            i++;
        if (i == n && !yaml_tree_is_merge_key(key))
            return yaml_tree_error(t, key, "%s: unknown key %.60s", what, text);
    }
    yaml_tree_check_keys(t, map, 0, NULL);
    return 0;
}

static int read_count(const struct yaml_tree *t, const yaml_node_t *node, const char *what,
                      double least, size_t *count)
{
    double x;
    if (yaml_tree_read_number(t, node, what, &x))
        return -1;
    if (x < least || x > (double)VOCABULARY_ROWS_MAX || x != floor(x))
        return yaml_tree_error(t, node, "%s must be a whole number from %g to %zu", what, least,
                               VOCABULARY_ROWS_MAX);
    *count = (size_t)x;
    return 0;
}

/* {kind: model_token, model: M, token: T} or {..., token_id: I} */
static int read_model_token(const struct yaml_tree *t, const yaml_node_t *map,
                            struct token_source *s)
{
    const yaml_node_t *model = yaml_tree_find_key(t, map, "model"),
                      *token = yaml_tree_find_key(t, map, "token"),
                      *row = yaml_tree_find_key(t, map, "token_id");
    s->kind = row ? TOKEN_SOURCE_ROW : TOKEN_SOURCE_TOKEN;
    if (!token == !row)
        return yaml_tree_error(t, map, "token %.80s: exactly one of token and token_id is needed",
                               s->token);
    if (!model)
        return yaml_tree_error(t, map, "token %.80s: model is missing", s->token);
    if (config_slices_read_model_path(t, model, "model", &s->model))
        return -1;
    return row ? read_count(t, row, "token_id", 0, &s->row)
               : yaml_tree_read_string(t, token, "token", &s->source_token);
}

static int read_source_map(const struct yaml_tree *t, const yaml_node_t *map,
                           struct token_source *s)
{
    static const char *const keys[] = {"kind", "model", "token", "token_id"};
    const yaml_node_t *kind = yaml_tree_find_key(t, map, "kind");
    const char *text = NULL;
    if (!kind)
        return yaml_tree_error(t, map,
                               "token %.80s: source has no kind; expected a model, or kind "
                               "model_token or zero",
                               s->token);
    if (check_keys(t, map, sizeof keys / sizeof *keys, keys, "source") ||
        yaml_tree_read_string(t, kind, "kind", &text))
        return -1;
    if (text && strcmp(text, "model_token") == 0)
        return read_model_token(t, map, s);
    if (!text || strcmp(text, "zero") != 0)
        return yaml_tree_error(t, kind,
                               "token %.80s: unknown kind %.60s; expected model_token or "
                               "zero",
                               s->token, text ? text : "null");
    s->kind = TOKEN_SOURCE_ZERO;
    return check_keys(t, map, 1, keys, "source of kind zero");
}

/* A model: {path: P}, {model: {path: P}} and {model: P, lora: L} are long forms of a path. */
static bool is_model_reference(const struct yaml_tree *t, const yaml_node_t *node)
{
    if (node->type != YAML_MAPPING_NODE)
        return true;
    const yaml_node_t *model = yaml_tree_find_key(t, node, "model");
    return !yaml_tree_find_key(t, node, "kind") &&
           (yaml_tree_find_key(t, node, "path") || yaml_tree_find_key(t, node, "lora") ||
            (model && model->type == YAML_MAPPING_NODE));
}

static int read_token(const struct yaml_tree *t, const yaml_node_t *map, struct token_source *s)
{
    static const char *const keys[] = {"source", "force"};
    double force = 0;
    if (yaml_tree_expect_type(t, map, YAML_MAPPING_NODE, "an entry of tokens") ||
        check_keys(t, map, 2, keys, "an entry of tokens"))
        return -1;
    const yaml_node_t *source = yaml_tree_find_key(t, map, "source"),
                      *flag = yaml_tree_find_key(t, map, "force");
    if (flag && yaml_tree_read_number(t, flag, "force", &force))
        return -1;
    if (force != 0 && force != 1)
        return yaml_tree_error(t, flag, "force must be true or false");
    s->force = force == 1;
    if (!source)
        return s->force ? yaml_tree_error(t, map, "token %.80s: force needs a source", s->token)
                        : 0;
    if (!is_model_reference(t, source))
        return read_source_map(t, source, s);
    s->kind = TOKEN_SOURCE_TOKEN;
    s->source_token = s->token;
    return config_slices_read_model_path(t, source, "source", &s->model);
}

static int read_tokens(const struct yaml_tree *t, const yaml_node_t *map,
                       struct config_tokenizer *out)
{
    if (yaml_tree_expect_type(t, map, YAML_MAPPING_NODE, "tokens"))
        return -1;
    yaml_tree_check_keys(t, map, 0, NULL);
    yaml_node_pair_t *start = map->data.mapping.pairs.start, *top = map->data.mapping.pairs.top;
    struct name_index names = {0};
    out->tokens = arena_alloc(t->a, (size_t)(top - start), sizeof *out->tokens);
    out->token_lines = arena_alloc(t->a, (size_t)(top - start), sizeof *out->token_lines);
    for (yaml_node_pair_t *p = start; p < top; p++) {
        const yaml_node_t *key = yaml_tree_node(t, p->key);
        struct token_source s = {0};
        if (yaml_tree_read_string(t, key, "a key of tokens", &s.token))
            return -1;
        if (!s.token || !*s.token)
            return yaml_tree_error(t, key, "a key of tokens must be a token, but it is %s",
                                   s.token ? "empty" : "null");
        if (read_token(t, yaml_tree_node(t, p->value), &s))
            return -1;
        size_t i = name_index_add(&names, s.token, out->n_tokens, t->a); /* the last one is used */
        out->tokens[i] = s;
        out->token_lines[i] = yaml_tree_line(key);
        out->n_tokens += i == out->n_tokens;
    }
    return 0;
}

/* ---- the keys -------------------------------------------------------------------------------- */

static int read_tokenizer(const struct yaml_tree *t, const yaml_node_t *map,
                          struct config_tokenizer *out)
{
    static const char *const keys[] = {"source", "tokens", "pad_to_multiple_of"};
    if (yaml_tree_expect_type(t, map, YAML_MAPPING_NODE, "tokenizer") ||
        check_keys(t, map, sizeof keys / sizeof *keys, keys, "tokenizer"))
        return -1;
    const yaml_node_t *source = yaml_tree_find_key(t, map, "source"),
                      *tokens = yaml_tree_find_key(t, map, "tokens"),
                      *pad = yaml_tree_find_key(t, map, "pad_to_multiple_of");
    out->source = "union";
    out->line = yaml_tree_line(source ? source : map);
    return (source &&
            config_slices_read_model_path(t, source, "tokenizer: source", &out->source)) ||
                   (tokens && read_tokens(t, tokens, out)) ||
                   (pad && read_count(t, pad, "pad_to_multiple_of", 1, &out->pad_to_multiple_of))
               ? -1
               : 0;
}

int config_tokenizer_read(const struct yaml_tree *t, const yaml_node_t *map,
                          struct config_tokenizer *out)
{
    const yaml_node_t *source = yaml_tree_find_key(t, map, "tokenizer_source"),
                      *tokenizer = yaml_tree_find_key(t, map, "tokenizer");
    if (source && tokenizer)
        return yaml_tree_error(t, tokenizer, "tokenizer and tokenizer_source cannot be combined");
    if (tokenizer)
        return read_tokenizer(t, tokenizer, out);
    if (!source)
        return 0;
    out->line = yaml_tree_line(source);
    return config_slices_read_model_path(t, source, "tokenizer_source", &out->source);
}
