#include "model_card.h"

#include "tensor_name.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define FILLED_SHOWN 10 /* names of filled-in tensors on the card */

static bool is_merged(const struct model *m)
{
    return m->role && strcmp(m->role, "merged") == 0;
}
/* ---- metadata -------------------------------------------------------------------------------- */

/* A text from a stream; bytes that are not UTF-8 become '?'. */
static json_t *json_text(const char *text)
{
    json_t *string = json_string(text);
    if (string)
        return string;
    char *plain = mem_copy_text(text);
    for (char *c = plain; *c; c++)
        if (*c & 0x80)
            *c = '?';
    string = json_string(plain);
    free(plain);
    return string;
}

static const char *hash_text(const char *model, const struct model_hashes *hashes, char *text)
{
    for (size_t i = 0; i < hashes->n; i++)
        if (strcmp(hashes->models[i], model) == 0) {
            snprintf(text, 17, "%016llx", (unsigned long long)hashes->hashes[i]);
            return text;
        }
    return strcpy(text, "----------------");
}

char *model_card_hashes_json(const struct header *h, const struct model_hashes *hashes)
{
    json_t *all = json_object();
    char hash[17];
    for (size_t i = 0; i < h->n_models; i++) {
        json_t *name = json_text(h->models[i].name);
        if (!is_merged(&h->models[i]))
            json_object_set_new(all, json_string_value(name),
                                json_string(hash_text(h->models[i].name, hashes, hash)));
        json_decref(name);
    }
    char *text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    return text;
}

static json_t *history_json(const struct history *history)
{
    json_t *steps = json_array();
    for (size_t i = 0; i < history->n; i++) {
        const struct history_step *s = &history->steps[i];
        json_t *step = json_object(), *arguments = json_array(), *parents = json_array();
        for (size_t j = 0; j < s->n_arguments; j++)
            json_array_append_new(arguments, json_text(s->arguments[j]));
        for (size_t j = 0; j < s->n_parents; j++)
            json_array_append_new(parents, history_json(&s->parents[j]));
        json_object_set_new(step, "tool", json_text(s->tool));
        json_object_set_new(step, "version", json_text(s->version));
        json_object_set_new(step, "arguments", arguments);
        if (s->n_parents)
            json_object_set(step, "parents", parents);
        json_decref(parents);
        json_array_append_new(steps, step);
    }
    return steps;
}

char *model_card_history_json(const struct header *h)
{
    json_t *steps = history_json(&h->history);
    char *text = json_dumps(steps, JSON_COMPACT);
    json_decref(steps);
    return text;
}

/* ---- README.md ------------------------------------------------------------------------------- */

/* A word as a shell reads it back. Control characters, which no name should have, become '?'. */
static void put_word(FILE *out, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-+=.,:/@%";
    bool quote = !*word || word[strspn(word, plain)];
    if (quote)
        putc('\'', out);
    for (const char *c = word; *c; c++) {
        if (*c == '\'')
            fputs("'\\''", out);
        else
            putc((unsigned char)*c < ' ' || *c == 127 ? '?' : *c, out);
    }
    if (quote)
        putc('\'', out);
}

/* A name in a table or list: as code, which no character ends. */
static void put_name(FILE *out, const char *name)
{
    putc('`', out);
    for (const char *c = name; *c; c++) {
        if (*c == '|')
            putc('\\', out);
        putc((unsigned char)*c < ' ' || *c == 127 || *c == '`' ? '?' : *c, out);
    }
    putc('`', out);
}

static void put_quoted(FILE *out, const char *text)
{
    json_t *string = json_text(text);
    char *quoted = json_dumps(string, JSON_ENCODE_ANY);
    fputs(quoted, out);
    free(quoted);
    json_decref(string);
}

/* Steps as a pipeline, `indent` columns from the left; a stage's several inputs in <( ). */
static void put_steps(FILE *out, const struct history *history, int indent)
{
    for (size_t i = 0; i < history->n; i++) {
        const struct history_step *s = &history->steps[i];
        if (i > 0)
            fprintf(out, " |\n%*s", indent + 4, "");
        put_word(out, s->tool);
        for (size_t j = 0; j < s->n_arguments; j++) {
            putc(' ', out);
            put_word(out, s->arguments[j]);
        }
        for (size_t j = 0; j < s->n_parents; j++) {
            fprintf(out, " \\\n%*s<(", indent + 4, "");
            put_steps(out, &s->parents[j], indent + 6);
            putc(')', out);
        }
    }
}

static void put_front(FILE *out, const struct header *h)
{
    fputs("---\nbase_model:\n", out);
    for (size_t i = 0; i < h->n_models; i++)
        if (!is_merged(&h->models[i])) {
            fputs("- ", out);
            put_quoted(out, h->models[i].name);
            putc('\n', out);
        }
    fputs("tags:\n- merge\n- tvtools\nlibrary_name: transformers\n---\n", out);
}

static void put_fingerprint(FILE *out, bool known, uint64_t fingerprint)
{
    if (known)
        fprintf(out, "`%016llx`", (unsigned long long)fingerprint);
    else
        fputs("unknown", out);
}

static void put_models(FILE *out, const struct header *h, const struct model_hashes *hashes,
                       const struct model *onto)
{
    char hash[17];
    fputs("\n## Models\n\n"
          "| model | role | fingerprint | full hash of what was read |\n"
          "|---|---|---|---|\n",
          out);
    for (size_t i = 0; i < h->n_models; i++) {
        const struct model *m = &h->models[i];
        if (is_merged(m))
            continue;
        fputs("| ", out);
        put_name(out, m->name);
        fputs(" | ", out);
        if (m->role)
            put_name(out, m->role);
        fputs(" | ", out);
        put_fingerprint(out, m->has_fingerprint, m->fingerprint);
        hash_text(m->name, hashes, hash);
        fprintf(out, hash[0] == '-' ? " | unknown |\n" : " | `%s` |\n", hash);
    }
    if (onto) {
        fputs("\nThe task vectors were added to another model than the one they were made "
              "against: ",
              out);
        put_name(out, onto->name);
        fputs(", fingerprint ", out);
        put_fingerprint(out, onto->has_fingerprint, onto->fingerprint);
        fputs(".\n", out);
    }
}

static void put_tensors(FILE *out, const struct header *h, size_t n_filled)
{
    size_t merged = h->n_tensors - n_filled;
    fprintf(out, "\n## Tensors\n\n%zu tensor%s.", h->n_tensors, h->n_tensors == 1 ? "" : "s");
    if (n_filled)
        fprintf(out, " %zu of them the merge left out; they are the base's:\n\n", n_filled);
    else
        putc('\n', out);
    for (size_t i = 0; i < n_filled && i < FILLED_SHOWN; i++) {
        fputs("- ", out);
        put_name(out, h->tensors[merged + i].name);
        putc('\n', out);
    }
    if (n_filled > FILLED_SHOWN)
        fprintf(out, "- and %zu more\n", n_filled - FILLED_SHOWN);
}

char *model_card_readme_text(const struct header *h, const struct model_hashes *hashes,
                             size_t n_filled, const struct model *onto)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    put_front(out, h);
    fputs("\n# Merged model\n\nMade with tvtools " TV_VERSION " by\n\n    ", out);
    put_steps(out, &h->history, 4);
    fputs(" OUT\n", out);
    put_models(out, h, hashes, onto);
    put_tensors(out, h, n_filled);
    fclose(out);
    return text;
}
