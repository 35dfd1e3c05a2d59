/* The tokenizer.json of two models, one after a zero byte: equal files have no difference, and the
 * token that differs has other ids in the files. The union of both: its tokenizer.json has the
 * vocabulary's tokens with their ids, and the first model's own where they were; jansson accepts
 * the texts that are accepted here. The first byte chooses vocab_size, source and options. */
#include "fuzz.h"
#include "json_text.h"
#include "token_rows.h"
#include "tokenizer_edit.h"
#include "tokenizer_files.h"

#include <errno.h>
#include <jansson.h>

/* The files of the models "0" and "1". */
static struct {
    const uint8_t *bytes;
    size_t size;
} files[2];
static char config[64];

/* In the place of the function that reads a file of a model. */
int __wrap_ckpt_read_model_file(const char *path, const char *name, char **text, size_t *size,
                                struct error *e);
int __wrap_ckpt_read_model_file(const char *path, const char *name, char **text, size_t *size,
                                struct error *e)
{
    size_t model = (size_t)(*path - '0');
    bool is_config = strcmp(name, "config.json") == 0;
    *text = NULL;
    if (!is_config && strcmp(name, "tokenizer.json") != 0)
        return 0;
    const uint8_t *bytes = is_config ? (const uint8_t *)config : files[model].bytes;
    *size = is_config ? strlen(config) : files[model].size;
    *text = fuzz_text(bytes, *size);
    return 1;
}

static void compare(const char *a_path, const char *b_path, bool same)
{
    struct error e;
    struct arena a = {0};
    struct token_difference d = {0};
    int found = tokenizer_files_find_difference(a_path, b_path, &d, &a, &e);
    if (found < 0 || (found && (same || !d.token || d.id_in_a == d.id_in_b)))
        abort();
    arena_free(&a);
}

/* jansson accepts what json_text_check accepts; the texts of strings are the same. */
static void check_json(const char *text, size_t size)
{
    if (!json_text_check(text, size))
        return;
    json_t *root = json_loadb(text, size, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
    if (!root && !strpbrk(text, "0123456789")) /* numbers may be too large for it */
        abort();
    if (json_is_string(root)) {
        char *decoded = mem_alloc(size, 1);
        json_text_decode(json_text_skip_space(text), decoded);
        if (strcmp(decoded, json_string_value(root)) != 0)
            abort();
        free(decoded);
    }
    json_decref(root);
}

/* The written file, read as a model's, has exactly the tokens of the vocabulary. */
static void check_written(const struct vocabulary *v)
{
    struct error e;
    size_t model = (size_t)(*v->start.path - '0');
    char *text = fuzz_text(files[model].bytes, files[model].size);
    char *edited = tokenizer_edit_json(v, text, files[model].size, &e);
    struct tokenizer *t = edited ? tokenizer_parse(edited, strlen(edited), "edited", &e) : NULL;
    if (!t || t->n != v->n)
        abort();
    for (size_t i = 0; i < v->n; i++) {
        const struct token *found = tokenizer_find(t, v->tokens[i].text);
        if (!found || (size_t)found->id != i)
            abort();
    }
    tokenizer_free(t);
    free(edited);
    edited = tokenizer_edit_config(v, text, files[model].size, &e);
    if (!edited || !json_text_check(edited, strlen(edited)))
        abort();
    free(edited);
    free(text);
}

static void check_rows(const struct vocabulary *v)
{
    struct error e;
    struct token_rows_model models[2] = {{.rows = 40}, {.model = 1, .rows = 40}};
    struct token_row *defaults = mem_alloc(v->n, sizeof *defaults);
    if (token_rows_find_defaults(v, "t", 2, models, "fuzz", defaults, &e) == 0)
        for (size_t i = 0; i < v->n; i++) {
            long own = token_rows_own_row(v, &models[0], i);
            if (own >= 40 || defaults[i].model > 1 || defaults[i].row >= 40)
                abort();
        }
    free(defaults);
}

static void check_union(uint8_t choice)
{
    static const char *const sources[] = {"union", "base", "b", "union"};
    static const char tokens[] =
        ", \"tokens\": {\"a\": {\"source\": \"b\"}, \"new\": {\"source\": {\"kind\": \"zero\"}}}, "
        "\"pad_to_multiple_of\": 8";
    char text[400];
    struct error e;
    snprintf(config, sizeof config, "{\"vocab_size\": %d}", choice & 8 ? 3 : 40);
    snprintf(text, sizeof text,
             "{\"source\": \"%s\", \"base\": \"a\", \"models\": {\"a\": \"0\", \"b\": \"1\"}, "
             "\"other_bpe\": %s%s}",
             sources[choice & 3], choice & 4 ? "true" : "false", choice & 16 ? tokens : "");
    struct vocabulary *v = vocabulary_new(text, "fuzz", &e);
    if (!v)
        return;
    check_written(v);
    check_rows(v);
    vocabulary_free(v);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    uint8_t choice = size ? bytes[0] : 0;
    bytes += size > 0;
    size -= size > 0;
    const uint8_t *zero = size ? memchr(bytes, 0, size) : NULL;
    files[0].bytes = bytes;
    files[0].size = zero ? (size_t)(zero - bytes) : size;
    files[1].bytes = zero ? zero + 1 : bytes;
    files[1].size = zero ? size - files[0].size - 1 : size;
    compare("0", "1", !zero);
    compare("1", "0", !zero);
    compare("0", "0", true);
    char *text = fuzz_text(files[0].bytes, files[0].size);
    check_json(text, files[0].size);
    free(text);
    check_union(choice);
}
