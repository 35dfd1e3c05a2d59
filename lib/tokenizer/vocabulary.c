#include "vocabulary.h"

#include "ckpt.h"
#include "json_text.h"
#include "printable.h"

#include <stdlib.h>
#include <string.h>

/* A model while the vocabulary is being made. */
struct input {
    const char *name, *path;
    struct tokenizer *tokenizer; /* its own, or that of an input with the same file; NULL: none */
    char *text;                  /* its tokenizer.json, of `size` bytes */
    size_t size, rows;
    bool owns_tokenizer;
    bool is_adapter; /* of LoRA, with the tokens of its base */
};

struct builder {
    struct vocabulary *v;
    const char *tool;
    size_t n_inputs;
    struct input *inputs; /* those of the request, then the start if it is another model */
    const struct input *start;
    size_t capacity;
    struct error *e;
};

/* ---- reading the models ---------------------------------------------------------------------- */

/* The number of rows of the embedding: vocab_size, in the text section where it is there; SIZE_MAX
 * if the model has no config.json with it. */
static int read_row_count(struct input *in, struct error *e)
{
    static const char *const sections[] = {"text_config", "llm_config"};
    char *text;
    size_t size;
    in->rows = SIZE_MAX;
    if (ckpt_read_model_file(in->path, "config.json", &text, &size, e) < 0)
        return -1;
    if (text && json_text_check(text, size)) {
        const char *root = json_text_skip_space(text),
                   *value = json_text_find_key(root, "vocab_size");
        for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
            const char *section = json_text_find_key(root, sections[i]),
                       *own = section ? json_text_find_key(section, "vocab_size") : NULL;
            value = own ? own : value;
        }
        long rows = value ? json_text_index(value) : -1;
        in->rows = rows >= 0 ? (size_t)rows : SIZE_MAX;
    }
    free(text);
    return 0;
}

/* Has the model files of a tokenizer in another format? */
static int check_has_no_other_tokenizer(const struct input *in, struct error *e)
{
    static const char *const names[] = {"tokenizer.model", "vocab.json", "spiece.model",
                                        "vocab.txt", "tekken.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *text;
        size_t size;
        int found = ckpt_read_model_file(in->path, names[i], &text, &size, e);
        free(text);
        if (found)
            return found < 0 ? -1
                             : error_set(e,
                                         "%.200s has %s, but no tokenizer.json, which is needed to "
                                         "move rows of its vocabulary (transformers writes one)",
                                         in->name, names[i]);
    }
    return 0;
}

static int find_adapter_config(struct input *in, struct error *e)
{
    char *text;
    size_t size;
    int found = ckpt_read_model_file(in->path, "adapter_config.json", &text, &size, e);
    free(text);
    in->is_adapter = found > 0;
    return found < 0 ? -1 : 0;
}

/* Reads the tokenizer, or uses that of an earlier input with the same file. */
static int read_tokenizer(struct builder *b, struct input *in)
{
    if (find_adapter_config(in, b->e))
        return -1;
    if (in->is_adapter)
        return 0;
    if (ckpt_read_model_file(in->path, "tokenizer.json", &in->text, &in->size, b->e) < 0 ||
        read_row_count(in, b->e))
        return -1;
    if (!in->text)
        return check_has_no_other_tokenizer(in, b->e);
    for (const struct input *other = b->inputs; other < in; other++)
        if (other->text && other->size == in->size && !memcmp(other->text, in->text, in->size)) {
            in->tokenizer = other->tokenizer;
            return 0;
        }
    in->tokenizer = tokenizer_parse(in->text, in->size, in->name, b->e);
    in->owns_tokenizer = true;
    return in->tokenizer ? 0 : -1;
}

static int add_input(struct builder *b, const char *name, const char *path)
{
    struct input *in = &b->inputs[b->n_inputs++];
    *in = (struct input){.name = name, .path = path};
    return read_tokenizer(b, in);
}

static const struct input *find_input(const struct builder *b, const char *name)
{
    for (size_t i = 0; i < b->n_inputs; i++)
        if (strcmp(b->inputs[i].name, name) == 0)
            return &b->inputs[i];
    return NULL;
}

/* The model whose tokens the vocabulary starts with; it need not be one of those to merge. */
static int find_start(struct builder *b)
{
    const char *source = b->v->request.source, *path = b->v->request.source_path;
    bool is_first = !path && (strcmp(source, "union") == 0 || strcmp(source, "base") == 0);
    if (path && add_input(b, source, path))
        return -1;
    b->start = is_first ? &b->inputs[0]
               : path   ? &b->inputs[b->n_inputs - 1]
                        : find_input(b, source);
    if (!b->start)
        return error_set(b->e,
                         "the vocabulary: the source %.200s is not union, base or one of the "
                         "models",
                         source);
    return b->start->tokenizer
               ? 0
               : error_set(b->e,
                           "%.200s has no tokenizer.json, from which the vocabulary of the "
                           "result is made (without tokenizer_source and --vocabulary, "
                           "tokenizers are not merged)",
                           b->start->name);
}

/* A model without a tokenizer has the first model's, and so has an adapter, whose base that is. */
static int assume_missing_tokenizers(struct builder *b)
{
    const struct input *first = &b->inputs[0];
    for (size_t i = 0; i < b->n_inputs; i++) {
        if (b->inputs[i].tokenizer)
            continue;
        if (!first->tokenizer)
            return error_set(b->e, "%.200s has no tokenizer.json", first->name);
        if (b->tool && !b->inputs[i].is_adapter)
            printable_warning(b->tool,
                              "%s has no tokenizer.json; its tokens are taken to be those "
                              "of %s",
                              b->inputs[i].name, first->name);
        b->inputs[i].tokenizer = first->tokenizer;
        b->inputs[i].rows = !b->inputs[i].is_adapter && b->inputs[i].rows < first->rows
                                ? b->inputs[i].rows
                                : first->rows;
    }
    return 0;
}

static int read_models(struct builder *b)
{
    const struct vocabulary_request *r = &b->v->request;
    b->inputs = mem_alloc(r->n_models + 1, sizeof *b->inputs);
    for (size_t i = 0; i < r->n_models; i++)
        if (add_input(b, r->models[i].name, r->models[i].path))
            return -1;
    return find_start(b) || assume_missing_tokenizers(b) ? -1 : 0;
}

/* ---- the tokens ------------------------------------------------------------------------------ */

/* Has the model a row of this token? */
static bool has_row(const struct input *in, const struct token *t)
{
    return t && (size_t)t->id < in->rows;
}

static bool has_token(const struct builder *b, const char *text)
{
    return name_index_find(&b->v->index, text) >= 0;
}

/* Appends a token, unless the vocabulary has it; its id is the next one. */
static void add_token(struct builder *b, const char *text, bool is_added,
                      const struct token_flags *flags)
{
    struct vocabulary *v = b->v;
    if (has_token(b, text))
        return;
    text = arena_copy_text(&v->arena, text);
    v->tokens = arena_grow(&v->arena, v->tokens, v->n, &b->capacity, sizeof *v->tokens);
    name_index_add(&b->v->index, text, v->n, &v->arena);
    v->tokens[v->n++] = (struct vocabulary_token){text, is_added, *flags, NULL};
}

static int compare_ids(const void *a, const void *b)
{
    const struct token *const *x = a, *const *y = b;
    return (*x)->id < (*y)->id ? -1 : (*x)->id > (*y)->id;
}

/* The tokens of a model that it has rows of, in the order of their ids. The caller frees. */
static const struct token **sort_by_id(const struct input *in, size_t *n)
{
    const struct token **sorted = mem_alloc(in->tokenizer->n, sizeof *sorted);
    *n = 0;
    for (size_t i = 0; i < in->tokenizer->n; i++)
        if (has_row(in, &in->tokenizer->tokens[i]))
            sorted[(*n)++] = &in->tokenizer->tokens[i];
    qsort(sorted, *n, sizeof *sorted, compare_ids);
    return sorted;
}

static int check_next_id(const struct builder *b, const struct token *t)
{
    size_t id = (size_t)t->id, n = b->v->n;
    if (id == n)
        return 0;
    return id > n ? error_set(b->e,
                              "the token ids of %.200s have a gap: no token has the id %zu, but "
                              "\"%.80s\" has %zu",
                              b->start->name, n, t->text, id)
                  : error_set(b->e, "two tokens of %.200s have the id %zu: \"%.80s\" and \"%.80s\"",
                              b->start->name, id, b->v->tokens[id].text, t->text);
}

static int add_tokens_of_start(struct builder *b)
{
    size_t n;
    const struct token **sorted = sort_by_id(b->start, &n);
    int failed = 0;
    for (size_t i = 0; i < n && !failed; i++) {
        failed = check_next_id(b, sorted[i]);
        if (!failed)
            add_token(b, sorted[i]->text, sorted[i]->is_added, &sorted[i]->flags);
    }
    free(sorted);
    b->v->n_start = b->v->n;
    b->v->start_is_cut = n < b->start->tokenizer->n;
    if (!failed && b->v->start_is_cut && strcmp(b->start->tokenizer->type, "BPE") != 0)
        failed = error_set(b->e,
                           "%.200s has %zu tokens, but a vocab_size of %zu; tokens can be taken "
                           "out of a BPE, but not of a %.40s model",
                           b->start->name, b->start->tokenizer->n, b->start->rows,
                           b->start->tokenizer->type);
    return failed;
}

/* Is the token an added one in a model that has a row of it? */
static bool is_added_somewhere(const struct builder *b, const char *text)
{
    for (size_t i = 0; i < b->v->request.n_models; i++) {
        const struct token *t = tokenizer_find(b->inputs[i].tokenizer, text);
        if (has_row(&b->inputs[i], t) && t->is_added)
            return true;
    }
    return false;
}

/* Adds the missing tokens of all models: those that are plain everywhere, or the others. */
static void add_tokens_of_models(struct builder *b, bool plain)
{
    static const struct token_flags flags_of_plain = {.normalized = true};
    for (size_t i = 0; i < b->v->request.n_models; i++) {
        size_t n;
        const struct token **sorted = sort_by_id(&b->inputs[i], &n);
        for (size_t j = 0; j < n; j++) {
            const struct token *t = sorted[j];
            if (has_token(b, t->text) || t->is_added == plain ||
                (plain && is_added_somewhere(b, t->text)))
                continue;
            add_token(b, t->text, true, plain ? &flags_of_plain : &t->flags);
        }
        free(sorted);
    }
}

/* The added tokens of a model whose flags in the vocabulary are others; *example is one of them. */
static size_t count_other_flags(const struct builder *b, const struct input *in,
                                const char **example)
{
    size_t n = 0;
    for (size_t i = 0; i < in->tokenizer->n; i++) {
        const struct token *t = &in->tokenizer->tokens[i];
        long id = t->is_added && has_row(in, t) ? name_index_find(&b->v->index, t->text) : -1;
        if (id < 0 || !b->v->tokens[id].is_added ||
            memcmp(&t->flags, &b->v->tokens[id].flags, sizeof t->flags) == 0)
            continue;
        *example = n++ ? *example : t->text;
    }
    return n;
}

static void warn_of_other_flags(const struct builder *b)
{
    for (size_t i = 0; b->tool && i < b->v->request.n_models; i++) {
        const struct input *in = &b->inputs[i];
        const char *example = "";
        size_t n = in->owns_tokenizer ? count_other_flags(b, in, &example) : 0;
        if (n)
            printable_warning(b->tool,
                              "%zu added token%s of %s, such as \"%s\", %s other flags "
                              "than in the model before it, whose flags are used",
                              n, n == 1 ? "" : "s", in->name, example, n == 1 ? "has" : "have");
    }
}

/* ---- unions of different vocabularies -------------------------------------------------------- */

/* The plain tokens of a model that another one lacks; *example is one of them. */
static size_t count_missing_plain_tokens(const struct input *in, const struct input *other,
                                         const char **example)
{
    size_t n = 0;
    for (size_t i = 0; i < in->tokenizer->n; i++) {
        const struct token *t = &in->tokenizer->tokens[i],
                           *found = tokenizer_find(other->tokenizer, t->text);
        if (!t->is_plain || t->is_added || !has_row(in, t) ||
            (has_row(other, found) && found->is_plain))
            continue;
        *example = n++ ? *example : t->text;
    }
    return n;
}

static int refuse_other_plain_tokens(const struct builder *b, const struct input *in, size_t n,
                                     const char *example)
{
    return error_set(
        b->e,
        "%.200s and %.200s have different %s vocabularies: %zu token%s of %.200s, such "
        "as \"%.40s\", %s not in the other one. As added tokens of a union they would "
        "cut text where they occur, or never match. Use base or a model as "
        "tokenizer_source, or --other-bpe (\"other_bpe\": true)",
        b->inputs[0].name, in->name, b->inputs[0].tokenizer->type, n, n == 1 ? "" : "s", in->name,
        example, n == 1 ? "is" : "are");
}

/* The tokens that a union adds are found in text before the start's own rules apply. That is right
 * for tokens such as <|im_start|>, but not for pieces of words of another vocabulary. */
static int check_same_plain_tokens(const struct builder *b)
{
    const struct input *first = &b->inputs[0];
    for (size_t i = 1; i < b->v->request.n_models; i++) {
        const struct input *in = &b->inputs[i];
        const char *example = "";
        if (in->tokenizer == first->tokenizer && in->rows == first->rows)
            continue;
        size_t n = count_missing_plain_tokens(in, first, &example);
        if (n)
            return refuse_other_plain_tokens(b, in, n, example);
        if (count_missing_plain_tokens(first, in, &example) == 0 &&
            first->tokenizer->rules == in->tokenizer->rules &&
            strcmp(first->tokenizer->type, in->tokenizer->type) == 0)
            continue;
        return error_set(b->e,
                         "%.200s and %.200s have different vocabularies: %s. A union would have "
                         "only those of %.200s. Use base or a model as tokenizer_source, or "
                         "--other-bpe (\"other_bpe\": true)",
                         first->name, in->name,
                         *example ? "plain tokens of the first are not in the second"
                                  : "their merges, scores or types differ",
                         first->name);
    }
    return 0;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* The row of each token of the vocabulary in a model. */
static struct vocabulary_model make_model(const struct builder *b, const struct input *in)
{
    struct vocabulary *v = b->v;
    struct vocabulary_model m = {.name = arena_copy_text(&v->arena, in->name),
                                 .path = arena_copy_text(&v->arena, in->path),
                                 .rows = in->rows};
    int32_t *rows = arena_alloc(&v->arena, v->n, sizeof *rows);
    for (size_t i = 0; i < v->n; i++)
        rows[i] = -1;
    for (size_t i = 0; i < in->tokenizer->n; i++) {
        const struct token *t = &in->tokenizer->tokens[i];
        if (!has_row(in, t))
            continue;
        long id = name_index_find(&b->v->index, t->text);
        m.tokens++;
        m.matched += id >= 0;
        if (id >= 0)
            rows[id] = t->id;
    }
    m.row_of = rows;
    return m;
}

static void make_models(struct builder *b)
{
    struct vocabulary *v = b->v;
    v->n_models = v->request.n_models;
    v->models = mem_alloc(v->n_models, sizeof *v->models);
    for (size_t i = 0; i < v->n_models; i++) {
        v->models[i] = make_model(b, &b->inputs[i]);
        v->models[i].only_tokenizer = v->request.models[i].only_tokenizer;
    }
    v->start = make_model(b, b->start);
    v->start_hash = b->start->tokenizer->text_hash;
}

long vocabulary_find_model(const struct vocabulary *v, const char *name)
{
    for (size_t i = 0; i < v->n_models; i++)
        if (strcmp(v->models[i].name, name) == 0)
            return (long)i;
    return -1;
}

size_t vocabulary_add_model(struct vocabulary *v, const char *name, const char *tool)
{
    if (tool)
        printable_warning(tool,
                          "the vocabulary does not list %s; its tokens are taken to be "
                          "those of %s",
                          name, v->models[0].name);
    v->models = mem_grow(v->models, v->n_models, sizeof *v->models);
    v->models[v->n_models] = v->models[0];
    v->models[v->n_models].name = arena_copy_text(&v->arena, name);
    return v->n_models++;
}

/* ---- the request's tokens, padding ----------------------------------------------------------- */

static int check_named_models(const struct builder *b)
{
    const struct vocabulary_request *r = &b->v->request;
    if (r->base && (b->v->base = vocabulary_find_model(b->v, r->base)) < 0)
        return error_set(b->e, "the vocabulary: the base %.200s is not among the models", r->base);
    for (size_t i = 0; i < r->n_tokens; i++)
        if (r->tokens[i].model && vocabulary_find_model(b->v, r->tokens[i].model) < 0)
            return error_set(b->e, "token %.80s: its source %.200s is not one of the merged models",
                             r->tokens[i].token, r->tokens[i].model);
    return 0;
}

/* A token without a source must be in all models. */
static int check_tokens_without_source(const struct builder *b, const struct token_source *t,
                                       size_t id)
{
    if (t->kind != TOKEN_SOURCE_NONE)
        return 0;
    if (t->force)
        return error_set(b->e, "token %.80s: force needs a source", t->token);
    for (size_t i = 0; i < b->v->n_models; i++)
        if (b->v->models[i].row_of[id] < 0)
            return error_set(b->e, "token %.80s needs a source, because %.200s lacks it", t->token,
                             b->v->models[i].name);
    return 0;
}

/* Replaces a source's token by its row. */
static int resolve_source(const struct builder *b, struct token_source *t)
{
    if (t->kind != TOKEN_SOURCE_TOKEN)
        return 0;
    const struct input *in = &b->inputs[vocabulary_find_model(b->v, t->model)];
    const struct token *found = tokenizer_find(in->tokenizer, t->source_token);
    if (!has_row(in, found))
        return error_set(b->e, "token %.80s: its source %.200s has no token %.80s", t->token,
                         t->model, t->source_token);
    t->row = (size_t)found->id;
    return 0;
}

static int resolve_sources(struct builder *b)
{
    struct vocabulary *v = b->v;
    for (size_t i = 0; i < v->request.n_tokens; i++) {
        struct token_source *t = &v->request.tokens[i];
        size_t id = (size_t)name_index_find(&b->v->index, t->token);
        if (check_tokens_without_source(b, t, id) || resolve_source(b, t))
            return -1;
        v->tokens[id].source = t;
    }
    return 0;
}

static int set_row_count(struct builder *b)
{
    size_t pad = b->v->request.pad_to_multiple_of, n = b->v->n;
    b->v->n_rows = pad ? (n + pad - 1) / pad * pad : n;
    return n > 0 && b->v->n_rows <= VOCABULARY_ROWS_MAX
               ? 0
               : error_set(b->e, "the vocabulary of %.200s has %zu rows", b->start->name,
                           b->v->n_rows);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int build(struct builder *b)
{
    static const struct token_flags flags_of_new = {.normalized = true};
    const struct vocabulary_request *r = &b->v->request;
    bool is_union = !r->source_path && strcmp(r->source, "union") == 0;
    if (read_models(b) || (is_union && !r->other_bpe && check_same_plain_tokens(b)) ||
        add_tokens_of_start(b))
        return -1;
    if (is_union) {
        add_tokens_of_models(b, true);
        add_tokens_of_models(b, false);
        warn_of_other_flags(b);
    }
    for (size_t i = 0; i < r->n_tokens; i++)
        add_token(b, r->tokens[i].token, true, &flags_of_new);
    make_models(b);
    return set_row_count(b) || check_named_models(b) || resolve_sources(b) ? -1 : 0;
}

struct vocabulary *vocabulary_new(const char *text, const char *tool, struct error *e)
{
    struct vocabulary *v = mem_alloc(1, sizeof *v);
    struct builder b = {.v = v, .tool = tool, .e = e};
    v->base = -1;
    int failed = vocabulary_request_parse(&v->request, text, &v->arena, e) || build(&b);
    for (size_t i = 0; i < b.n_inputs; i++) {
        if (b.inputs[i].owns_tokenizer)
            tokenizer_free(b.inputs[i].tokenizer);
        free(b.inputs[i].text);
    }
    free(b.inputs);
    if (!failed)
        return v;
    vocabulary_free(v);
    return NULL;
}

void vocabulary_free(struct vocabulary *v)
{
    if (!v)
        return;
    free(v->models);
    arena_free(&v->arena);
    free(v);
}

void vocabulary_print_note(const struct vocabulary *v, const char *tool)
{
    struct arena a = {0};
    const char *list = "";
    for (size_t i = 0; i < v->n_models; i++)
        list = arena_printf(&a, "%s%s%s has %zu of its %zu", list, i ? ", " : "", v->models[i].name,
                            v->models[i].matched, v->models[i].tokens);
    printable_note(tool, "a vocabulary of %zu tokens: %s", v->n, list);
    arena_free(&a);
}
