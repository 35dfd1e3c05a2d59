#include "tokenizer.h"

#include "hash.h"
#include "json_text.h"
#include "number.h"

#include <stdlib.h>
#include <string.h>

/* What the functions here need. */
struct parser {
    struct tokenizer *t;
    size_t capacity;
    const char *model; /* in messages */
    struct error *e;
};

/* ---- values ---------------------------------------------------------------------------------- */

static const char *copy_string(const struct parser *p, const char *value)
{
    char *text = arena_alloc(&p->t->arena, (size_t)(json_text_end(value) - value), 1);
    json_text_decode(value, text);
    return text;
}

static bool find_flag(const char *object, const char *key)
{
    const char *value = json_text_find_key(object, key);
    return value && strncmp(value, "true", 4) == 0;
}

static int set_invalid(const struct parser *p, const char *what)
{
    return error_set(p->e, "tokenizer.json of %s: %s", p->model, what);
}

/* The token of that text, added if it is new. */
static struct token *add_token(struct parser *p, const char *value)
{
    struct tokenizer *t = p->t;
    const char *text = copy_string(p, value);
    size_t i = name_index_add(&t->index, text, t->n, &t->arena);
    if (i < t->n)
        return &t->tokens[i];
    t->tokens = arena_grow(&t->arena, t->tokens, t->n, &p->capacity, sizeof *t->tokens);
    t->tokens[t->n] = (struct token){.text = text};
    return &t->tokens[t->n++];
}

/* ---- the vocabulary -------------------------------------------------------------------------- */

static int set_id(struct parser *p, struct token *t, long id)
{
    t->id = (int32_t)id;
    return id >= 0 ? 0
                   : error_set(p->e, "tokenizer.json of %s: the id of token \"%.80s\" is invalid",
                               p->model, t->text);
}

/* {TOKEN: ID, ...} */
static int read_vocabulary_object(struct parser *p, const char *vocabulary)
{
    struct json_text_entry entry = {0};
    while (json_text_next(vocabulary, &entry)) {
        struct token *t = add_token(p, entry.key);
        t->is_plain = true;
        if (set_id(p, t, json_text_index(entry.value)))
            return -1;
    }
    return 0;
}

/* [[TOKEN, SCORE], ...]: the id is the position. */
static int read_vocabulary_list(struct parser *p, const char *vocabulary, XXH3_state_t *scores)
{
    struct json_text_entry entry = {0};
    for (long id = 0; json_text_next(vocabulary, &entry); id++) {
        struct json_text_entry item = {0};
        double score;
        char number[32];
        if (!json_text_next(entry.value, &item) || *item.value != '"')
            return set_invalid(p, "an entry of its vocabulary is no list of token and score");
        struct token *t = add_token(p, item.value);
        t->is_plain = true;
        t->id = (int32_t)id;
        if (!json_text_next(entry.value, &item))
            return set_invalid(p, "an entry of its vocabulary has no score");
        char *text = mem_copy_text_n(item.value, (size_t)(item.end - item.value));
        int failed = number_parse(text, &score);
        free(text);
        if (failed)
            return set_invalid(p, "a score of its vocabulary is no number");
        number_format(score, number);
        XXH3_64bits_update(scores, number, strlen(number) + 1);
    }
    return 0;
}

/* ---- merges ---------------------------------------------------------------------------------- */

/* Hashes one merge, ["a", "b"] or "a b", as the text "a b" and a zero byte; `buffer` has space for
 * it. */
static void hash_merge(const char *merge, XXH3_state_t *merges, char *buffer)
{
    struct json_text_entry part = {0};
    size_t n = json_text_decode(merge, buffer);
    while (*merge == '[' && json_text_next(merge, &part)) {
        if (n)
            buffer[n++] = ' ';
        n += json_text_decode(part.value, buffer + n);
    }
    XXH3_64bits_update(merges, buffer, n + 1);
}

static void hash_merges(const char *list, XXH3_state_t *merges)
{
    struct json_text_entry entry = {0};
    char *buffer = NULL;
    for (size_t capacity = 0; json_text_next(list, &entry);) {
        size_t n = (size_t)(entry.end - entry.value) + 1;
        if (n > capacity)
            buffer = mem_resize(buffer, capacity = 2 * n, 1);
        hash_merge(entry.value, merges, buffer);
    }
    free(buffer);
}

/* ---- the file -------------------------------------------------------------------------------- */

static int read_model(struct parser *p, const char *model)
{
    static const char *const keys[] = {"type", "merges", "vocab"};
    const char *values[3] = {0};
    if (model)
        json_text_find_keys(model, 3, keys, values);
    const char *type = values[0], *merges = values[1], *vocabulary = values[2];
    if (!vocabulary || (*vocabulary != '{' && *vocabulary != '['))
        return set_invalid(p, "it has no vocabulary");
    if (*vocabulary == '[' && type && !json_text_equals(type, "Unigram"))
        return set_invalid(p, "its vocabulary is a list, but it is no Unigram model");
    merges = merges && *merges == '[' ? merges : NULL;
    XXH3_state_t *rules = hash_new_state();
    int failed = *vocabulary == '{' ? read_vocabulary_object(p, vocabulary)
                                    : read_vocabulary_list(p, vocabulary, rules);
    if (merges)
        hash_merges(merges, rules);
    p->t->rules = merges || *vocabulary == '[' ? XXH3_64bits_digest(rules) : 0;
    XXH3_freeState(rules);
    /* Old files do not have the type. */
    p->t->type = type && *type == '"' ? copy_string(p, type)
                 : merges             ? "BPE"
                 : *vocabulary == '[' ? "Unigram"
                                      : "WordPiece";
    return failed;
}

static int read_added_tokens(struct parser *p, const char *list)
{
    struct json_text_entry entry = {0};
    if (*list != '[' && *list != 'n') /* null */
        return set_invalid(p, "added_tokens is no list");
    while (json_text_next(list, &entry)) {
        static const char *const keys[] = {"content", "id"};
        const char *values[2];
        json_text_find_keys(entry.value, 2, keys, values);
        const char *content = values[0], *id = values[1];
        if (!content || *content != '"' || !id)
            return set_invalid(p, "an added token has no content or no id");
        struct token *t = add_token(p, content);
        t->is_added = true;
        t->flags = (struct token_flags){.special = find_flag(entry.value, "special"),
                                        .normalized = find_flag(entry.value, "normalized"),
                                        .lstrip = find_flag(entry.value, "lstrip"),
                                        .rstrip = find_flag(entry.value, "rstrip"),
                                        .single_word = find_flag(entry.value, "single_word")};
        if (set_id(p, t, json_text_index(id)))
            return -1;
    }
    return 0;
}

struct tokenizer *tokenizer_parse(const char *text, size_t size, const char *model, struct error *e)
{
    struct tokenizer *t = mem_alloc(1, sizeof *t);
    struct parser p = {.t = t, .model = model, .e = e};
    static const char *const keys[] = {"model", "added_tokens"};
    const char *values[2] = {0};
    bool is_valid = json_text_check(text, size);
    if (is_valid)
        json_text_find_keys(json_text_skip_space(text), 2, keys, values);
    int failed = is_valid ? read_model(&p, values[0])
                          : set_invalid(&p, "it is not valid JSON, has a NUL in "
                                            "a string, or is nested too deeply");
    if (!failed && values[1])
        failed = read_added_tokens(&p, values[1]);
    t->text_hash = XXH3_64bits(text, size);
    if (!failed)
        return t;
    tokenizer_free(t);
    return NULL;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    arena_free(&t->arena);
    free(t);
}

const struct token *tokenizer_find(const struct tokenizer *t, const char *text)
{
    long i = name_index_find(&t->index, text);
    return i < 0 ? NULL : &t->tokens[i];
}
