#include "config_vocabulary.h"

#include "result_config_and_dtype.h"
#include "ckpt.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

/* The path of a model, or of the one whose tokenizer the result of another document gets. */
static const char *find_path(const struct pipeline_builder *b, const struct input_model *input)
{
    return input->document ? result_config_and_dtype_find_model(b, input->document)
                           : input->plain_operand;
}

static bool has_source(const struct pipeline_builder *b, const char *source)
{
    return strcmp(b->config->tokenizer.source, source) == 0;
}

/* The model that gives the start of the vocabulary: the base or the first model for a union. */
static const struct input_model *find_start(const struct pipeline_builder *b)
{
    return has_source(b, "union") || has_source(b, "base")
               ? &b->inputs.items[0]
               : input_models_find(&b->inputs, b->config->tokenizer.source, b->a);
}

const char *config_vocabulary_find_tokenizer_model(const struct pipeline_builder *b)
{
    return b->config->tokenizer.source ? find_path(b, find_start(b)) : NULL;
}

/* ---- equal tokenizers ------------------------------------------------------------------------ */

static int read_file(const struct pipeline_builder *b, const struct input_model *input,
                     const char *name, char **text, size_t *size)
{
    const char *path = find_path(b, input);
    *text = NULL;
    return path ? ckpt_read_model_file(path, name, text, size, b->e) : 0;
}

/* Have all models the same file of that name, or none? -1 on error. *any: has one of them it? */
static int have_same_file(const struct pipeline_builder *b, const char *name, bool *any)
{
    char *first, *text;
    size_t first_size = 0, size = 0;
    if (read_file(b, &b->inputs.items[0], name, &first, &first_size) < 0)
        return -1;
    int same = 1;
    *any = first != NULL;
    for (size_t i = 1; i < b->inputs.n_inputs && same > 0; i++) {
        int found = read_file(b, &b->inputs.items[i], name, &text, &size);
        *any = *any || found > 0;
        same = found < 0 ? -1
                         : !text == !first &&
                               (!text || (size == first_size && memcmp(text, first, size) == 0));
        free(text);
    }
    free(first);
    return same;
}

/* Have the models no tokenizer.json, and the same tokenizer in another format? -1 on error. */
static int have_same_other_tokenizer(const struct pipeline_builder *b)
{
    static const char *const names[] = {"tokenizer.model", "vocab.json",  "merges.txt",
                                        "vocab.txt",       "tekken.json", "added_tokens.json"};
    bool any, any_of_names = false;
    int same = have_same_file(b, "tokenizer.json", &any);
    if (same <= 0 || any)
        return same < 0 ? -1 : 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && same > 0; i++) {
        same = have_same_file(b, names[i], &any);
        any_of_names = any_of_names || any;
    }
    return same < 0 ? -1 : same && any_of_names;
}

/* ---- the request ----------------------------------------------------------------------------- */

static int check_path_is_utf8(const struct pipeline_builder *b, const char *path)
{
    return utf8_valid_prefix_length(path, strlen(path)) == strlen(path)
               ? 0
               : pipeline_builder_error(b, b->config->tokenizer.line,
                                        "the path %.200s is not UTF-8, which a vocabulary needs",
                                        path);
}

static int add_models(const struct pipeline_builder *b, struct vocabulary_request *r)
{
    r->models = arena_alloc(b->a, b->inputs.n_inputs, sizeof *r->models);
    for (size_t i = 0; i < b->inputs.n_inputs; i++) {
        const struct input_model *input = &b->inputs.items[i];
        const char *path = find_path(b, input);
        if (input->only_tokenizer)
            continue;
        if (!path)
            return pipeline_builder_error(b, b->config->line,
                                          "the documents refer to each other in a cycle");
        if (check_path_is_utf8(b, path))
            return -1;
        r->models[r->n_models++] =
            (struct vocabulary_request_model){input->name, path, input->document != NULL};
    }
    return 0;
}

/* Replaces paths of models by their names. */
static int add_tokens(const struct pipeline_builder *b, struct vocabulary_request *r)
{
    const struct config_tokenizer *c = &b->config->tokenizer;
    r->n_tokens = c->n_tokens;
    r->tokens = arena_copy(b->a, c->tokens, c->n_tokens * sizeof *r->tokens);
    for (size_t i = 0; i < r->n_tokens; i++) {
        struct token_source *t = &r->tokens[i];
        const struct input_model *input =
            t->model ? input_models_find(&b->inputs, t->model, b->a) : NULL;
        if (t->model && (!input || input->only_tokenizer))
            return pipeline_builder_error(b, c->token_lines[i],
                                          "token %.80s: its source %.200s is not one of the merged "
                                          "models",
                                          t->token, t->model);
        t->model = input ? input->name : NULL;
    }
    return 0;
}

int config_vocabulary_set(struct pipeline_builder *b)
{
    const struct config_tokenizer *c = &b->config->tokenizer;
    if (!c->source)
        return 0;
    int same = c->n_tokens || c->pad_to_multiple_of ? 0 : have_same_other_tokenizer(b);
    if (same)
        return same < 0 ? -1 : 0;
    struct vocabulary_request r = {.source = c->source,
                                   .pad_to_multiple_of = c->pad_to_multiple_of,
                                   .other_bpe = b->options->other_bpe};
    const struct input_model *start = find_start(b);
    if (b->config->base)
        r.base = input_models_find(&b->inputs, b->config->base, b->a)->name;
    if (!has_source(b, "union") && !has_source(b, "base"))
        r.source = start->name;
    if (start->only_tokenizer)
        r.source_path = find_path(b, start);
    if (add_models(b, &r) || add_tokens(b, &r) ||
        (r.source_path && check_path_is_utf8(b, r.source_path)))
        return -1;
    b->vocabulary = vocabulary_request_format(&r, true, b->a);
    return 0;
}

int config_vocabulary_check_inner_document(const struct pipeline_builder *b)
{
    const struct config_tokenizer *c = &b->config->tokenizer;
    if (!c->source || (has_source(b, "base") && !c->n_tokens && !c->pad_to_multiple_of))
        return 0;
    return pipeline_builder_error(b, c->line,
                                  "another document uses the result of this one, whose tokenizer "
                                  "must be base then; merge this one alone first");
}
