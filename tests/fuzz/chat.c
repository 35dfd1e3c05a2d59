/* A tokenizer_config.json, and after a zero byte a chat template: the model's own template is
 * found; with the template inserted the file is valid JSON, has that template, and is otherwise the
 * same. */
#include "fuzz.h"
#include "chat_template.h"

#include <jansson.h>

static const char *config;
static size_t config_size;

/* In the place of the function that reads a file of a model. */
int __wrap_ckpt_read_model_file(const char *path, const char *name, char **text, size_t *size,
                                struct error *e);
int __wrap_ckpt_read_model_file(const char *path, const char *name, char **text, size_t *size,
                                struct error *e)
{
    *text = NULL;
    if (strcmp(name, "tokenizer_config.json") != 0)
        return 0;
    *text = fuzz_text(config, config_size);
    *size = config_size;
    return 1;
}

static void fail(const char *what)
{
    dprintf(fuzz_log, "%s\n", what);
    abort();
}

static void check_inserted(const char *inserted, const char *template)
{
    json_t *before = json_loadb(config, config_size, JSON_DECODE_INT_AS_REAL, NULL);
    json_t *after = json_loads(inserted, JSON_DECODE_INT_AS_REAL, NULL);
    const char *found = json_string_value(json_object_get(after, "chat_template"));
    if (!before &&
        !after) /* a number that jansson does not read, such as 1e4041, is kept as text */
        return;
    if (!found || strcmp(found, template) != 0)
        fail(inserted);
    json_object_del(before, "chat_template");
    json_object_del(after, "chat_template");
    if (!json_equal(before, after))
        fail(inserted);
    json_decref(before);
    json_decref(after);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct arena a = {0};
    const char *models[] = {"a", "b"}, *own;
    char *text = fuzz_text(bytes, size);
    const char *template = "{% template %}";
    config = text;
    config_size = strlen(text);
    if (config_size < size)
        template = text + config_size + 1;
    if (chat_template_choose("auto", 2, models, &own, &a, &e))
        fail(e.text);
    char *inserted = chat_template_insert(config, config_size, template, &e);
    if (inserted)
        check_inserted(inserted, template);
    free(inserted);
    free(text);
    arena_free(&a);
}
