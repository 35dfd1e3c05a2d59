#include "chat_template.h"

#include "ckpt.h"
#include "json_text.h"
#include "name_index.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- known templates ------------------------------------------------------------------------- */

static const struct {
    const char *name, *text;
} known_templates[] = {
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

/* ---- the templates of models ----------------------------------------------------------------- */

/* The text without white space at both ends; NULL if there is nothing else. */
static const char *trim_text(const char *text, struct arena *a)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t n = strlen(text);
    while (n && isspace((unsigned char)text[n - 1]))
        n--;
    return n ? arena_copy_text_n(a, text, n) : NULL;
}

/* The template in a tokenizer_config.json: a string, or the default of a list. */
static const char *parse_template_in_tokenizer_config(const char *config, struct arena *a)
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
    text = text ? trim_text(text, a) : NULL;
    json_decref(root);
    return text;
}

/* Finds the model's template; *template is NULL if it has none, or there is no such model. */
static int read_template_of_model(const char *model, const char **template, struct arena *a,
                                  struct error *e)
{
    char *text;
    size_t size;
    *template = NULL;
    int found = ckpt_read_model_file(model, "chat_template.jinja", &text, &size, e);
    if (found > 0)
        *template = trim_text(text, a);
    if (found == 0) {
        found = ckpt_read_model_file(model, "tokenizer_config.json", &text, &size, e);
        *template = found > 0 ? parse_template_in_tokenizer_config(text, a) : NULL;
    }
    free(text);
    return found < 0 ? -1 : 0;
}

/* Finds the template of most models; the first one if several are as frequent. */
static int most_common_template(size_t n, const char *const *models, const char **template,
                                struct arena *a, struct error *e)
{
    const char **distinct = arena_alloc(a, n, sizeof *distinct), *text;
    size_t *counts = arena_alloc(a, n, sizeof *counts), n_distinct = 0, most = 0;
    struct name_index index = {0};
    for (size_t i = 0; i < n; i++) {
        if (read_template_of_model(models[i], &text, a, e) < 0)
            return -1;
        size_t found = text ? name_index_add(&index, text, n_distinct, a) : n;
        if (found == n_distinct)
            distinct[n_distinct++] = text;
        if (text)
            counts[found]++;
    }
    for (size_t i = 0; i < n_distinct; i++)
        if (counts[i] > most) {
            most = counts[i];
            *template = distinct[i];
        }
    return 0;
}

int chat_template_choose(const char *wanted, size_t n, const char *const *models, const char **text,
                         struct arena *a, struct error *e)
{
    *text = NULL;
    if (strcmp(wanted, "auto") == 0)
        return most_common_template(n, models, text, a, e);
    for (size_t i = 0; i < COUNT(known_templates); i++)
        if (strcmp(known_templates[i].name, wanted) == 0)
            *text = known_templates[i].text;
    if (*text)
        return 0;
    if (strlen(wanted) < 20 || !strchr(wanted, '{'))
        return error_set(
            e,
            "\"%.100s\" is not auto, alpaca, chatml, exaone, llama3, mistral or a Jinja template",
            wanted);
    *text = wanted;
    return 0;
}

/* ---- inserting ------------------------------------------------------------------------------- */

/* Edits the text and not the parsed JSON, so that numbers stay as they are: some files have
 * integers of 31 digits. */
char *chat_template_insert(const char *config, size_t size, const char *text, struct error *e)
{
    json_t *string = json_string(text);
    char *quoted = json_dumps(string, JSON_ENCODE_ANY | JSON_ENSURE_ASCII), *result = NULL;
    const char *root = json_text_skip_space(config);
    bool is_object = json_text_check(config, size) && *root == '{';
    bool is_empty = is_object && !json_text_next(root, &(struct json_text_entry){0});
    json_decref(string);
    const char *value = is_object ? json_text_find_key(root, "chat_template") : NULL;
    const char *start = value ? value : is_object ? root + 1 : config;
    const char *after = value ? json_text_end(value) : start;
    if (!is_object)
        error_set(e, "tokenizer_config.json is not valid JSON, so the chat template cannot be set");
    else if (!quoted)
        error_set(e, "the chat template is not UTF-8");
    else
        result = mem_printf("%.*s%s%s%s%s", (int)(start - config), config,
                            value ? "" : "\n  \"chat_template\": ", quoted,
                            value || is_empty ? "" : ",", after);
    free(quoted);
    return result;
}
