#include "tokenizer_edit.h"

#include "hash.h"
#include "json_text.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define EDITS_MAX 3

/* A part of the text that is replaced. */
struct edit {
    const char *start, *end;
    struct bytes replacement;
};

struct editor {
    const struct vocabulary *v;
    const char *text;
    size_t size, n;
    struct edit edits[EDITS_MAX];
    struct bytes buffer; /* of a decoded string */
};

/* ---- output ---------------------------------------------------------------------------------- */

static void append_text(struct bytes *out, const char *text)
{
    bytes_append(out, text, strlen(text));
}

static void append_string(struct bytes *out, const char *text)
{
    json_t *string = mem_check(json_string(text));
    char *quoted = mem_check(json_dumps(string, JSON_ENCODE_ANY));
    append_text(out, quoted);
    free(quoted);
    json_decref(string);
}

static void append_flag(struct bytes *out, const char *key, bool value, const char *after)
{
    append_text(out, key);
    append_text(out, value ? "true" : "false");
    append_text(out, after);
}

/* The content and the flags of a token, in the form of the tokenizers library. */
static void append_token(struct bytes *out, const struct vocabulary_token *t)
{
    append_text(out, "\n      \"content\": ");
    append_string(out, t->text);
    append_flag(out, ",\n      \"single_word\": ", t->flags.single_word, ",");
    append_flag(out, "\n      \"lstrip\": ", t->flags.lstrip, ",");
    append_flag(out, "\n      \"rstrip\": ", t->flags.rstrip, ",");
    append_flag(out, "\n      \"normalized\": ", t->flags.normalized, ",");
    append_flag(out, "\n      \"special\": ", t->flags.special, "\n    }");
}

/* Appends the tokens that the start lacks, as entries of a list, or of an object by their ids. */
static void append_new_tokens(const struct vocabulary *v, struct bytes *out, bool by_id,
                              bool is_first)
{
    for (size_t id = v->n_start; id < v->n; id++) {
        char text[64];
        snprintf(text, sizeof text, by_id ? "%s\n    \"%zu\": {" : "%s\n    {\n      \"id\": %zu,",
                 is_first ? "" : ",", id);
        append_text(out, text);
        append_token(out, &v->tokens[id]);
        is_first = false;
    }
}

/* ---- tokens that are taken out --------------------------------------------------------------- */

static bool is_kept(const struct editor *d, const char *token)
{
    long id = name_index_find(&d->v->index, token);
    return id >= 0 && (size_t)id < d->v->n_start;
}

/* The text of a string, until the next call. */
static const char *decode(struct editor *d, const char *value)
{
    size_t n = (size_t)(json_text_end(value) - value) + 1;
    if (n > d->buffer.capacity) {
        d->buffer.data = mem_resize(d->buffer.data, 2 * n, 1);
        d->buffer.capacity = 2 * n;
    }
    json_text_decode(value, (char *)d->buffer.data);
    return (const char *)d->buffer.data;
}

static bool keeps_added_token(struct editor *d, const struct json_text_entry *entry)
{
    return is_kept(d, decode(d, json_text_find_key(entry->value, "content")));
}

static bool keeps_token(struct editor *d, const struct json_text_entry *entry)
{
    return is_kept(d, decode(d, entry->key));
}

/* ["a", "b"] or "a b": are a, b and ab kept? */
static bool keeps_merge(struct editor *d, const struct json_text_entry *entry)
{
    bool kept = true;
    struct bytes result = {0};
    struct json_text_entry part = {0};
    while (*entry->value == '[' && json_text_next(entry->value, &part)) {
        const char *text = decode(d, part.value);
        kept = kept && is_kept(d, text);
        append_text(&result, text);
    }
    if (*entry->value == '"') {
        char *text = mem_copy_text(decode(d, entry->value)), *rest = text, *word;
        while ((word = strsep(&rest, " "))) {
            kept = kept && is_kept(d, word);
            append_text(&result, word);
        }
        free(text);
    }
    char *merged = bytes_take_text(&result);
    kept = kept && is_kept(d, merged);
    free(merged);
    return kept;
}

/* added_tokens_decoder: the key is the id. */
static bool keeps_id(struct editor *d, const struct json_text_entry *entry)
{
    return strtoul(decode(d, entry->key), NULL, 10) < d->v->n_start;
}

/* ---- edits ----------------------------------------------------------------------------------- */

enum new_tokens { NONE, AS_LIST, BY_ID };

/* Replaces a list or an object by its entries that are kept, and the new tokens. */
static void edit_container(struct editor *d, const char *container,
                           bool (*keeps)(struct editor *, const struct json_text_entry *),
                           enum new_tokens added)
{
    struct edit *edit = &d->edits[d->n++];
    *edit = (struct edit){.start = container, .end = json_text_end(container)};
    struct bytes *out = &edit->replacement;
    struct json_text_entry entry = {0};
    const char *from = container + 1; /* an entry and the white space before it */
    bool is_first = true;
    bytes_append(out, container, 1);
    while (json_text_next(container, &entry)) {
        if (!d->v->start_is_cut || keeps(d, &entry)) {
            append_text(out, is_first ? "" : ",");
            bytes_append(out, from, (size_t)(entry.end - from));
            is_first = false;
        }
        from = json_text_skip_space(entry.end);
        from += *from == ',';
    }
    if (added != NONE)
        append_new_tokens(d->v, out, added == BY_ID, is_first);
    append_text(out, added != NONE && d->v->n > d->v->n_start ? "\n  " : "");
    bytes_append(out, edit->end - 1, 1);
}

static int compare_edits(const void *a, const void *b)
{
    const struct edit *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

/* The edited text; frees the editor. */
static char *apply_edits(struct editor *d)
{
    struct bytes out = {0};
    const char *from = d->text;
    qsort(d->edits, d->n, sizeof *d->edits, compare_edits);
    for (size_t i = 0; i < d->n; i++) {
        bytes_append(&out, from, (size_t)(d->edits[i].start - from));
        bytes_append(&out, d->edits[i].replacement.data, d->edits[i].replacement.size);
        bytes_free(&d->edits[i].replacement);
        from = d->edits[i].end;
    }
    bytes_append(&out, from, (size_t)(d->text + d->size - from));
    bytes_free(&d->buffer);
    return bytes_take_text(&out);
}

/* ---- the files ------------------------------------------------------------------------------- */

/* Inserts added_tokens as the first key of the object, or replaces its value null. */
static void insert_added_tokens(struct editor *d, const char *object, const char *null)
{
    struct edit *edit = &d->edits[d->n++];
    const char *start = null ? null : object + 1;
    *edit = (struct edit){.start = start, .end = null ? json_text_end(null) : start};
    append_text(&edit->replacement, null ? "[" : "\n  \"added_tokens\": [");
    append_new_tokens(d->v, &edit->replacement, false, true);
    append_text(&edit->replacement, null ? "\n  ]" : "\n  ],");
}

char *tokenizer_edit_json(const struct vocabulary *v, const char *text, size_t size,
                          struct error *e)
{
    struct editor d = {.v = v, .text = text, .size = size};
    if (XXH3_64bits(text, size) != v->start_hash) { /* the edits below expect a valid file */
        error_set(e, "tokenizer.json of %.200s has changed while it was used", v->start.name);
        return NULL;
    }
    const char *root = json_text_skip_space(text),
               *added = json_text_find_key(root, "added_tokens"),
               *model = json_text_find_key(root, "model"),
               *merges = json_text_find_key(model, "merges");
    if (v->start_is_cut)
        edit_container(&d, json_text_find_key(model, "vocab"), keeps_token, NONE);
    if (v->start_is_cut && merges && *merges == '[')
        edit_container(&d, merges, keeps_merge, NONE);
    if (added && *added == '[')
        edit_container(&d, added, keeps_added_token, AS_LIST);
    else if (v->n > v->n_start)
        insert_added_tokens(&d, root, added);
    return apply_edits(&d);
}

char *tokenizer_edit_config(const struct vocabulary *v, const char *text, size_t size,
                            struct error *e)
{
    struct editor d = {.v = v, .text = text, .size = size};
    if (!json_text_check(text, size)) {
        error_set(e, "tokenizer_config.json of %.200s is not valid JSON", v->start.name);
        return NULL;
    }
    const char *decoder = json_text_find_key(json_text_skip_space(text), "added_tokens_decoder");
    if (decoder && *decoder == '{')
        edit_container(&d, decoder, keeps_id, BY_ID);
    return apply_edits(&d);
}
