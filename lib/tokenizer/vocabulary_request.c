#include "vocabulary_request.h"

#include "strict_json.h"

#include <stdlib.h>
#include <string.h>

/* What the functions here need. */
struct parser {
    struct vocabulary_request *r;
    struct arena *a;
    struct error *e;
};

static int set_invalid(const struct parser *p, const char *what, const char *where)
{
    return error_set(p->e, "the vocabulary: %s%s%.200s", what, *where ? " in " : "", where);
}

/* ---- values ---------------------------------------------------------------------------------- */

/* An error if the object has another key than those in `keys`, which NULL ends. */
static int check_keys(const struct parser *p, json_t *object, const char *const *keys,
                      const char *where)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        size_t i = 0;
        while (keys[i] && strcmp(keys[i], key) != 0)
            i++;
        if (!keys[i])
            return error_set(p->e, "the vocabulary: unknown key %.80s%s%.200s", key,
                             *where ? " in " : "", where);
    }
    return 0;
}

/* The string of a key, in the arena; NULL if the object lacks it. */
static int read_string(const struct parser *p, json_t *object, const char *key, const char *where,
                       const char **text)
{
    json_t *value = json_object_get(object, key);
    *text = arena_copy_text(p->a, json_string_value(value));
    return value && !*text ? set_invalid(p, arena_printf(p->a, "%s is not a string", key), where)
                           : 0;
}

static int read_flag(const struct parser *p, json_t *object, const char *key, const char *where,
                     bool *flag)
{
    json_t *value = json_object_get(object, key);
    *flag = json_is_true(value);
    return value && !json_is_boolean(value)
               ? set_invalid(p, arena_printf(p->a, "%s is not true or false", key), where)
               : 0;
}

static int read_count(const struct parser *p, json_t *object, const char *key, const char *where,
                      size_t *count)
{
    json_t *value = json_object_get(object, key);
    json_int_t n = json_integer_value(value);
    *count = value ? (size_t)n : 0;
    return value && (!json_is_integer(value) || n < 0 || n > (json_int_t)VOCABULARY_ROWS_MAX)
               ? set_invalid(p, arena_printf(p->a, "%s is not a number of rows", key), where)
               : 0;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static int read_source_object(const struct parser *p, json_t *source, struct token_source *t)
{
    static const char *const keys[] = {"kind", "model", "token", "token_id", NULL};
    const char *kind;
    bool has_row = json_object_get(source, "token_id") != NULL;
    if (check_keys(p, source, keys, t->token) || read_string(p, source, "kind", t->token, &kind) ||
        read_string(p, source, "model", t->token, &t->model) ||
        read_string(p, source, "token", t->token, &t->source_token) ||
        read_count(p, source, "token_id", t->token, &t->row))
        return -1;
    if (kind && strcmp(kind, "zero") == 0) {
        t->kind = TOKEN_SOURCE_ZERO;
        return t->model || t->source_token || has_row
                   ? set_invalid(p, "the kind zero has no other keys", t->token)
                   : 0;
    }
    if (!kind || strcmp(kind, "model_token") != 0)
        return set_invalid(p, "kind is not model_token or zero", t->token);
    t->kind = has_row ? TOKEN_SOURCE_ROW : TOKEN_SOURCE_TOKEN;
    if (!t->model)
        return set_invalid(p, "model is missing", t->token);
    return has_row == (t->source_token != NULL)
               ? set_invalid(p, "exactly one of token and token_id is needed", t->token)
               : 0;
}

static int read_token(const struct parser *p, json_t *value, struct token_source *t)
{
    static const char *const keys[] = {"source", "force", NULL};
    json_t *source = json_object_get(value, "source");
    if (!json_is_object(value))
        return set_invalid(p, "the value is not an object", t->token);
    if (check_keys(p, value, keys, t->token) || read_flag(p, value, "force", t->token, &t->force))
        return -1;
    if (json_is_object(source))
        return read_source_object(p, source, t);
    t->model = arena_copy_text(p->a, json_string_value(source));
    t->source_token = t->model ? t->token : NULL;
    t->kind = t->model ? TOKEN_SOURCE_TOKEN : TOKEN_SOURCE_NONE;
    return source && !t->model ? set_invalid(p, "source is not a model or an object", t->token) : 0;
}

static int read_tokens(const struct parser *p, json_t *tokens)
{
    const char *key;
    json_t *value;
    if (tokens && !json_is_object(tokens))
        return set_invalid(p, "tokens is not an object", "");
    p->r->tokens = arena_alloc(p->a, json_object_size(tokens), sizeof *p->r->tokens);
    json_object_foreach(tokens, key, value)
    {
        struct token_source *t = &p->r->tokens[p->r->n_tokens++];
        t->token = arena_copy_text(p->a, key);
        if (!*t->token)
            return set_invalid(p, "a token is empty", "tokens");
        if (read_token(p, value, t))
            return -1;
    }
    return 0;
}

/* ---- models ---------------------------------------------------------------------------------- */

static int read_model(const struct parser *p, json_t *value, struct vocabulary_request_model *m)
{
    static const char *const keys[] = {"tokenizer", NULL};
    m->only_tokenizer = json_is_object(value);
    if (m->only_tokenizer) {
        if (check_keys(p, value, keys, m->name))
            return -1;
        value = json_object_get(value, "tokenizer");
    }
    m->path = json_is_null(value) ? "" : arena_copy_text(p->a, json_string_value(value));
    return m->path ? 0 : set_invalid(p, "the path is not a string", m->name);
}

static int read_models(const struct parser *p, json_t *models)
{
    const char *key;
    json_t *value;
    if (!json_is_object(models) || json_object_size(models) == 0)
        return set_invalid(p, "models is not an object with the paths of models", "");
    p->r->models = arena_alloc(p->a, json_object_size(models), sizeof *p->r->models);
    json_object_foreach(models, key, value)
    {
        struct vocabulary_request_model *m = &p->r->models[p->r->n_models++];
        m->name = arena_copy_text(p->a, key);
        if (read_model(p, value, m))
            return -1;
    }
    return 0;
}

/* "union", "base", a model, or {NAME: PATH} */
static int read_source(const struct parser *p, json_t *source)
{
    struct vocabulary_request *r = p->r;
    const char *key;
    json_t *value;
    if (json_is_object(source) && json_object_size(source) == 1) {
        json_object_foreach(source, key, value)
        {
            r->source = arena_copy_text(p->a, key);
            r->source_path =
                json_is_null(value) ? "" : arena_copy_text(p->a, json_string_value(value));
        }
        return r->source_path ? 0 : set_invalid(p, "the path of source is not a string", "");
    }
    r->source = arena_copy_text(p->a, json_string_value(source));
    return r->source ? 0 : set_invalid(p, "source is not union, base or a model", "");
}

static int read_request(const struct parser *p, json_t *root)
{
    static const char *const keys[] = {
        "source", "base", "models", "tokens", "pad_to_multiple_of", "other_bpe", NULL};
    struct vocabulary_request *r = p->r;
    if (check_keys(p, root, keys, "") || read_source(p, json_object_get(root, "source")) ||
        read_string(p, root, "base", "", &r->base) ||
        read_models(p, json_object_get(root, "models")) ||
        read_tokens(p, json_object_get(root, "tokens")) ||
        read_count(p, root, "pad_to_multiple_of", "", &r->pad_to_multiple_of) ||
        read_flag(p, root, "other_bpe", "", &r->other_bpe))
        return -1;
    return 0;
}

int vocabulary_request_parse(struct vocabulary_request *r, const char *text, struct arena *a,
                             struct error *e)
{
    const struct parser p = {r, a, e};
    *r = (struct vocabulary_request){0};
    json_t *root = strict_json_parse("the vocabulary", "its text", (const unsigned char *)text,
                                     strlen(text), e);
    int failed = root ? read_request(&p, root) : -1;
    json_decref(root);
    return failed;
}

/* ---- formatting ------------------------------------------------------------------------------ */

static json_t *make_source(const struct token_source *t)
{
    if (t->kind == TOKEN_SOURCE_ZERO)
        return json_pack("{s:s}", "kind", "zero");
    if (t->kind == TOKEN_SOURCE_ROW)
        return json_pack("{s:s,s:s,s:I}", "kind", "model_token", "model", t->model, "token_id",
                         (json_int_t)t->row);
    if (strcmp(t->source_token, t->token) == 0)
        return json_string(t->model);
    return json_pack("{s:s,s:s,s:s}", "kind", "model_token", "model", t->model, "token",
                     t->source_token);
}

static json_t *make_tokens(const struct vocabulary_request *r)
{
    json_t *tokens = json_object();
    for (size_t i = 0; i < r->n_tokens; i++) {
        const struct token_source *t = &r->tokens[i];
        json_t *token = json_object();
        if (t->kind != TOKEN_SOURCE_NONE)
            json_object_set_new(token, "source", make_source(t));
        if (t->force)
            json_object_set_new(token, "force", json_true());
        json_object_set_new(tokens, t->token, token);
    }
    return tokens;
}

static json_t *make_path(const char *path, bool with_paths)
{
    return with_paths ? json_string(path) : json_null();
}

static json_t *make_models(const struct vocabulary_request *r, bool with_paths)
{
    json_t *models = json_object();
    for (size_t i = 0; i < r->n_models; i++) {
        const struct vocabulary_request_model *m = &r->models[i];
        json_t *path = make_path(m->path, with_paths);
        json_object_set_new(models, m->name,
                            m->only_tokenizer ? json_pack("{s:o}", "tokenizer", path) : path);
    }
    return models;
}

const char *vocabulary_request_format(const struct vocabulary_request *r, bool with_paths,
                                      struct arena *a)
{
    json_t *root = json_object();
    json_t *source = json_string(r->source);
    if (r->source_path) {
        json_decref(source);
        source = json_object();
        json_object_set_new(source, r->source, make_path(r->source_path, with_paths));
    }
    json_object_set_new(root, "source", source);
    if (r->base)
        json_object_set_new(root, "base", json_string(r->base));
    json_object_set_new(root, "models", make_models(r, with_paths));
    if (r->n_tokens)
        json_object_set_new(root, "tokens", make_tokens(r));
    if (r->pad_to_multiple_of)
        json_object_set_new(root, "pad_to_multiple_of",
                            json_integer((json_int_t)r->pad_to_multiple_of));
    if (r->other_bpe)
        json_object_set_new(root, "other_bpe", json_true());
    char *text = mem_check(json_dumps(root, 0));
    const char *copy = arena_copy_text(a, text);
    free(text);
    json_decref(root);
    return copy;
}
