#include "tokenizer_files.h"

#include "ckpt.h"
#include "name_index.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

bool tokenizer_files_is_tokenizer_file(const char *name)
{
    static const char *const names[] = {"special_tokens_map.json",
                                        "added_tokens.json",
                                        "merges.txt",
                                        "vocab.json",
                                        "vocab.txt",
                                        "spiece.model",
                                        "sentencepiece.bpe.model",
                                        "tekken.json"};
    static const char *const prefixes[] = {"tokenizer", "tokenization_", "chat_template"};
    bool found = false;
    for (size_t i = 0; i < COUNT(names); i++)
        found |= strcmp(name, names[i]) == 0;
    for (size_t i = 0; i < COUNT(prefixes); i++)
        found |= strncmp(name, prefixes[i], strlen(prefixes[i])) == 0;
    return found;
}

/* A parsed tokenizer.json. */
struct tokenizer {
    json_t *json; /* NULL if it is not valid */
    const json_t *vocab, *added;
    struct name_index added_index; /* of the tokens that were added, by content */
};

static const char *added_token(const struct tokenizer *t, size_t i)
{
    return json_string_value(json_object_get(json_array_get(t->added, i), "content"));
}

static long added_token_id(const struct tokenizer *t, size_t i)
{
    return (long)json_integer_value(json_object_get(json_array_get(t->added, i), "id"));
}

static struct tokenizer parse_tokenizer(const char *text, size_t size, struct arena *a)
{
    struct tokenizer t = {.json = json_loadb(text, size, 0, NULL)};
    t.vocab = json_object_get(json_object_get(t.json, "model"), "vocab");
    t.added = json_object_get(t.json, "added_tokens");
    for (size_t i = 0; i < json_array_size(t.added); i++)
        if (added_token(&t, i) && json_object_get(json_array_get(t.added, i), "id"))
            name_index_add(&t.added_index, added_token(&t, i), i, a);
    return t;
}

/* The id of a token in the vocabulary or among the added tokens; -1 if it has none. */
static long find_token_id(const struct tokenizer *t, const char *token)
{
    const json_t *id = json_object_get(t->vocab, token);
    if (id)
        return (long)json_integer_value(id);
    long i = name_index_find(&t->added_index, token);
    return i < 0 ? -1 : added_token_id(t, (size_t)i);
}

/* Has the token another id in tokenizer `b`? Then sets *d and returns 1. */
static int token_id_differs(const struct tokenizer *b, const char *token, long id,
                            struct token_difference *d, struct arena *a)
{
    long other = find_token_id(b, token);
    if (other == id)
        return 0;
    *d = (struct token_difference){arena_copy_text_n(a, token, strlen(token)), id, other};
    return 1;
}

/* For vocabularies that are lists: the id is the position. */
static int find_first_vocabulary_list_difference(const json_t *a_list, const json_t *b_list,
                                                 struct token_difference *d, struct arena *a)
{
    for (size_t i = 0; i < json_array_size(a_list); i++) {
        const char *own = json_string_value(json_array_get(json_array_get(a_list, i), 0));
        const char *other = json_string_value(json_array_get(json_array_get(b_list, i), 0));
        if (!own || (other && strcmp(own, other) == 0))
            continue;
        *d = (struct token_difference){arena_copy_text_n(a, own, strlen(own)), (long)i, -1};
        for (size_t j = 0; j < json_array_size(b_list); j++) {
            other = json_string_value(json_array_get(json_array_get(b_list, j), 0));
            if (other && strcmp(own, other) == 0)
                d->id_in_b = (long)j;
        }
        return 1;
    }
    return 0;
}

static int compare_tokenizers(const struct tokenizer *one, const struct tokenizer *two,
                              struct token_difference *d, struct arena *a)
{
    json_t *vocab = (json_t *)one->vocab;
    if (json_is_array(vocab) && find_first_vocabulary_list_difference(vocab, two->vocab, d, a))
        return 1;
    for (void *i = json_object_iter(vocab); i; i = json_object_iter_next(vocab, i)) {
        long id = (long)json_integer_value(json_object_iter_value(i));
        if (token_id_differs(two, json_object_iter_key(i), id, d, a))
            return 1;
    }
    for (size_t i = 0; i < json_array_size(one->added); i++)
        if (added_token(one, i) &&
            token_id_differs(two, added_token(one, i), added_token_id(one, i), d, a))
            return 1;
    return 0;
}

int tokenizer_files_find_difference(const char *a_path, const char *b_path,
                                    struct token_difference *d, struct arena *a, struct error *e)
{
    size_t n = 0, m = 0;
    char *one = NULL, *two = NULL;
    int found = ckpt_read_model_file(a_path, "tokenizer.json", &one, &n, e) < 0 ||
                        ckpt_read_model_file(b_path, "tokenizer.json", &two, &m, e) < 0
                    ? -1
                    : 0;
    if (one && two && (n != m || memcmp(one, two, n) != 0)) {
        struct arena index = {0};
        struct tokenizer first = parse_tokenizer(one, n, &index),
                         second = parse_tokenizer(two, m, &index);
        found = first.json && second.json ? compare_tokenizers(&first, &second, d, a) : 0;
        json_decref(first.json);
        json_decref(second.json);
        arena_free(&index);
    }
    free(one);
    free(two);
    return found;
}
