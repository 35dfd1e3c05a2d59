#include "tokenizer_files.h"

#include "ckpt.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

bool tokenizer_files_is_tokenizer_file(const char *name)
{
    static const char *const whole[] = {"special_tokens_map.json",
                                        "added_tokens.json",
                                        "merges.txt",
                                        "vocab.json",
                                        "vocab.txt",
                                        "spiece.model",
                                        "sentencepiece.bpe.model",
                                        "tekken.json"};
    static const char *const starts[] = {"tokenizer", "tokenization_", "chat_template"};
    bool found = false;
    for (size_t i = 0; i < COUNT(whole); i++)
        found |= strcmp(name, whole[i]) == 0;
    for (size_t i = 0; i < COUNT(starts); i++)
        found |= strncmp(name, starts[i], strlen(starts[i])) == 0;
    return found;
}

/* ---- templates ------------------------------------------------------------------------------- */

static const struct {
    const char *name, *text;
} known[] = {
    {"alpaca", "{{ bos_token }}{% for message in messages %}"
               "{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
               "{% elif message['role'] == 'user' %}"
               "{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}"
               "{% elif message['role'] == 'assistant' %}"
               "{{ '### Response:\\n' + message['content'] + eos_token + '\\n\\n' }}"
               "{% endif %}{% endfor %}"
               "{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"},
    {"chatml",
     "{% for message in messages %}"
     "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
     "{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"},
    {"exaone",
     "{% for message in messages %}"
     "{% if loop.first and message['role'] != 'system' %}{{ '[|system|][|endofturn|]\\n' }}"
     "{% endif %}{{ '[|' + message['role'] + '|]' + message['content'] }}"
     "{{ '\\n' if message['role'] == 'user' else '[|endofturn|]\\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}"},
    {"llama3", "{{ bos_token }}{% for message in messages %}"
               "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
               "{{ message['content'] | trim }}{{ '<|eot_id|>' }}{% endfor %}"
               "{% if add_generation_prompt %}"
               "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"},
    {"mistral",
     "{{ bos_token }}{% for message in messages %}"
     "{% if message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
     "{% elif message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
     "{% else %}{{ message['content'] + '\\n\\n' }}{% endif %}{% endfor %}"},
};

/* The small file of a checkpoint, in the arena; NULL if there is none. */
static const char *small_file(const struct ckpt *c, const char *name, struct arena *a)
{
    size_t size;
    char *text = ckpt_read_auxiliary_file(c, name, &size);
    const char *copy = text ? arena_copy_text_n(a, text, size) : NULL;
    free(text);
    return copy;
}

/* Without blanks at both ends. */
static const char *trimmed(const char *text, struct arena *a)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t n = strlen(text);
    while (n && isspace((unsigned char)text[n - 1]))
        n--;
    return n ? arena_copy_text_n(a, text, n) : NULL;
}

/* The template in a tokenizer_config.json: a text, or a list of named ones with a default. */
static const char *template_in(const char *config, struct arena *a)
{
    json_t *root = json_loads(config, JSON_DECODE_INT_AS_REAL, NULL),
           *own = json_object_get(root, "chat_template");
    const char *text = json_string_value(own);
    for (size_t i = 0; i < json_array_size(own); i++) {
        const json_t *item = json_array_get(own, i);
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && strcmp(name, "default") == 0)
            text = json_string_value(json_object_get(item, "template"));
    }
    text = text ? trimmed(text, a) : NULL;
    json_decref(root);
    return text;
}

/* NULL if the model has none, or cannot be read: others will do. */
static const char *template_of(const char *model, struct arena *a)
{
    struct error ignored;
    struct ckpt *c = ckpt_open(model, NULL, NULL, &ignored);
    if (!c)
        return NULL;
    const char *text = small_file(c, "chat_template.jinja", a);
    const char *config = text ? NULL : small_file(c, "tokenizer_config.json", a);
    ckpt_close(c);
    if (text)
        return trimmed(text, a);
    return config ? template_in(config, a) : NULL;
}

/* The template of most models; of several the one that comes first. */
static const char *most_common(size_t n, const char *const *models, struct arena *a)
{
    const char **texts = arena_alloc(a, n, sizeof *texts), *best = NULL;
    size_t most = 0;
    for (size_t i = 0; i < n; i++)
        texts[i] = template_of(models[i], a);
    for (size_t i = 0; i < n; i++) {
        size_t count = 0;
        for (size_t j = i; j < n; j++)
            count += texts[i] && texts[j] && strcmp(texts[i], texts[j]) == 0;
        if (count > most) {
            most = count;
            best = texts[i];
        }
    }
    return best;
}

int chat_template_choose(const char *wanted, size_t n, const char *const *models,
                         const char **template, struct arena *a, struct error *e)
{
    *template = NULL;
    if (strcmp(wanted, "auto") == 0) {
        *template = most_common(n, models, a);
        return 0;
    }
    for (size_t i = 0; i < COUNT(known); i++)
        if (strcmp(known[i].name, wanted) == 0)
            *template = known[i].text;
    if (*template)
        return 0;
    if (strlen(wanted) < 20 || !strchr(wanted, '{'))
        return error_set(
            e,
            "\"%.100s\" is neither auto, alpaca, chatml, exaone, llama3 or mistral nor "
            "a Jinja text",
            wanted);
    *template = wanted;
    return 0;
}

/* Behind the JSON string, of valid JSON, that starts here. */
static const char *string_end(const char *at)
{
    for (at++; *at != '"'; at++)
        at += *at == '\\';
    return at + 1;
}

static const char *value_end(const char *at)
{
    size_t depth = 0;
    if (*at == '"')
        return string_end(at);
    if (*at != '{' && *at != '[')
        return at + strcspn(at, ",]} \t\r\n");
    do {
        depth += *at == '{' || *at == '[';
        depth -= *at == '}' || *at == ']';
        at = *at == '"' ? string_end(at) : at + 1;
    } while (depth);
    return at;
}

static const char *skip_blanks(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

/* Where a key's value stands in the text of a JSON object; NULL if it has no such key. */
static const char *find_value(const char *object, const char *key)
{
    const char *at = skip_blanks(skip_blanks(object) + 1), *found = NULL;
    size_t n = strlen(key);
    while (*at == '"') {
        const char *name = at + 1, *value = skip_blanks(value_end(at));
        value = skip_blanks(value + 1); /* the : */
        if (strncmp(name, key, n) == 0 && name[n] == '"')
            found = value;
        at = skip_blanks(value_end(value));
        at = *at == ',' ? skip_blanks(at + 1) : at;
    }
    return found;
}

/* The text itself is changed, so that its numbers stay what they were: some files have whole
 * numbers of 31 digits. */
char *chat_template_insert(const char *config, size_t size, const char *template, struct error *e)
{
    json_t *root = json_loadb(config, size, JSON_DECODE_INT_AS_REAL, NULL);
    json_t *string = json_string(template);
    char *quoted = json_dumps(string, JSON_ENCODE_ANY | JSON_ENSURE_ASCII), *text = NULL;
    bool is_object = json_is_object(root), is_empty = json_object_size(root) == 0;
    json_decref(root);
    json_decref(string);
    const char *value = is_object ? find_value(config, "chat_template") : NULL;
    const char *start = value ? value : is_object ? skip_blanks(config) + 1 : config;
    const char *after = value ? value_end(value) : start;
    if (!is_object)
        error_set(e, "tokenizer_config.json is not JSON: the chat template has no place in it");
    else if (!quoted)
        error_set(e, "the chat template is not UTF-8");
    else if (asprintf(&text, "%.*s%s%s%s%s", (int)(start - config), config,
                      value ? "" : "\n  \"chat_template\": ", quoted, value || is_empty ? "" : ",",
                      after) < 0)
        text = NULL;
    free(quoted);
    return text;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

/* The number of a token: in the vocabulary, else among those added; -1. */
static long number_of(const json_t *tokenizer, const char *token)
{
    const json_t *added = json_object_get(tokenizer, "added_tokens");
    const json_t *vocab = json_object_get(json_object_get(tokenizer, "model"), "vocab");
    const json_t *id = json_object_get(vocab, token);
    for (size_t i = 0; !id && i < json_array_size(added); i++) {
        const json_t *item = json_array_get(added, i);
        const char *content = json_string_value(json_object_get(item, "content"));
        if (content && strcmp(content, token) == 0)
            id = json_object_get(item, "id");
    }
    return id ? (long)json_integer_value(id) : -1;
}

/* Do the two differ about this token? */
static int differ(const json_t *b, const char *token, long number, struct token_difference *d,
                  struct arena *a)
{
    long other = number_of(b, token);
    if (other == number)
        return 0;
    *d = (struct token_difference){arena_copy_text_n(a, token, strlen(token)), number, other};
    return 1;
}

/* A vocabulary that is a list: the number is the place. */
static int compare_lists(const json_t *a_list, const json_t *b_list, struct token_difference *d,
                         struct arena *a)
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

static int compare(const json_t *one, const json_t *two, struct token_difference *d,
                   struct arena *a)
{
    json_t *vocab = json_object_get(json_object_get(one, "model"), "vocab");
    const json_t *added = json_object_get(one, "added_tokens");
    if (json_is_array(vocab) &&
        compare_lists(vocab, json_object_get(json_object_get(two, "model"), "vocab"), d, a))
        return 1;
    for (void *i = json_object_iter(vocab); i; i = json_object_iter_next(vocab, i)) {
        long number = (long)json_integer_value(json_object_iter_value(i));
        if (differ(two, json_object_iter_key(i), number, d, a))
            return 1;
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *item = json_array_get(added, i);
        const char *content = json_string_value(json_object_get(item, "content"));
        if (content &&
            differ(two, content, (long)json_integer_value(json_object_get(item, "id")), d, a))
            return 1;
    }
    return 0;
}

/* The text of a model's tokenizer.json, which the caller frees. */
static char *tokenizer_text(const char *path, size_t *size)
{
    struct error ignored;
    struct ckpt *c = ckpt_open(path, NULL, NULL, &ignored);
    char *text = c ? ckpt_read_auxiliary_file(c, "tokenizer.json", size) : NULL;
    ckpt_close(c);
    return text;
}

int tokenizer_files_find_difference(const char *a_path, const char *b_path,
                                    struct token_difference *d, struct arena *a)
{
    size_t n = 0, m = 0;
    char *one = tokenizer_text(a_path, &n), *two = tokenizer_text(b_path, &m);
    int found = 0;
    if (one && two && (n != m || memcmp(one, two, n) != 0)) {
        json_t *first = json_loadb(one, n, 0, NULL), *second = json_loadb(two, m, 0, NULL);
        found = first && second ? compare(first, second, d, a) : 0;
        json_decref(first);
        json_decref(second);
    }
    free(one);
    free(two);
    return found;
}
