#include "model_card.h"

#include "printable.h"
#include "tensor_name.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LISTED 10 /* names of filled-in tensors on the card */

static bool is_merged_model(const struct model *m)
{
    return m->role && strcmp(m->role, "merged") == 0;
}

/* ---- metadata -------------------------------------------------------------------------------- */

/* A string from a stream; bytes above 127 become '?' if it is not UTF-8. */
static json_t *to_json_string(const char *text)
{
    json_t *string = json_string(text);
    if (string)
        return string;
    char *ascii = mem_copy_text(text);
    for (char *c = ascii; *c; c++)
        if (*c & 0x80)
            *c = '?';
    string = json_string(ascii);
    free(ascii);
    return string;
}

/* The full hash of a model in `text`, 17 bytes; dashes if it is not known. */
static const char *format_hash(const char *model, const struct model_hashes *hashes, char *text)
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
        json_t *name = to_json_string(h->models[i].name);
        if (!is_merged_model(&h->models[i]))
            json_object_set_new(all, json_string_value(name),
                                json_string(format_hash(h->models[i].name, hashes, hash)));
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
            json_array_append_new(arguments, to_json_string(s->arguments[j]));
        for (size_t j = 0; j < s->n_parents; j++)
            json_array_append_new(parents, history_json(&s->parents[j]));
        json_object_set_new(step, "tool", to_json_string(s->tool));
        json_object_set_new(step, "version", to_json_string(s->version));
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

/* Prints a name as Markdown code, for a table or list. Control characters and '`' become '?'. */
static void print_name_as_markdown_code(FILE *out, const char *name)
{
    char *printable = mem_copy_text(name);
    printable_replace(printable);
    putc('`', out);
    for (const char *c = printable; *c; c++) {
        if (*c == '|')
            putc('\\', out);
        putc(*c == '`' ? '?' : *c, out);
    }
    putc('`', out);
    free(printable);
}

/* Prints a YAML string in double quotes. */
static void print_quoted(FILE *out, const char *text)
{
    json_t *string = to_json_string(text);
    printable_print_json(out, json_string_value(string), json_string_length(string));
    json_decref(string);
}

/* Prints a history as a pipeline, indented by `indent` columns; the several inputs of a stage as
 * <(...). */
static void print_history_as_pipeline(FILE *out, const struct history *history, int indent)
{
    for (size_t i = 0; i < history->n; i++) {
        const struct history_step *s = &history->steps[i];
        if (i > 0)
            fprintf(out, " |\n%*s", indent + 4, "");
        printable_print_shell_word(out, s->tool);
        for (size_t j = 0; j < s->n_arguments; j++) {
            putc(' ', out);
            printable_print_shell_word(out, s->arguments[j]);
        }
        for (size_t j = 0; j < s->n_parents; j++) {
            fprintf(out, " \\\n%*s<(", indent + 4, "");
            print_history_as_pipeline(out, &s->parents[j], indent + 6);
            putc(')', out);
        }
    }
}

static void print_front_matter(FILE *out, const struct header *h)
{
    fputs("---\nbase_model:\n", out);
    for (size_t i = 0; i < h->n_models; i++)
        if (!is_merged_model(&h->models[i])) {
            fputs("- ", out);
            print_quoted(out, h->models[i].name);
            putc('\n', out);
        }
    fputs("tags:\n- merge\n- tvtools\nlibrary_name: transformers\n---\n", out);
}

static void print_fingerprint(FILE *out, bool known, uint64_t fingerprint)
{
    if (known)
        fprintf(out, "`%016llx`", (unsigned long long)fingerprint);
    else
        fputs("unknown", out);
}

static void print_quantized_models(FILE *out, const struct header *h)
{
    for (size_t i = 0; i < h->n_models; i++) {
        if (!h->models[i].quantization)
            continue;
        fputs("\n", out);
        print_name_as_markdown_code(out, h->models[i].name);
        fputs(" is quantized and was dequantized when it was read: ", out);
        print_name_as_markdown_code(out, h->models[i].quantization);
        fputs(".\n", out);
    }
}

static void print_models_section(FILE *out, const struct header *h,
                                 const struct model_hashes *hashes, const struct model *other_base)
{
    char hash[17];
    fputs("\n## Models\n\n"
          "| model | role | fingerprint | full hash of what was read |\n"
          "|---|---|---|---|\n",
          out);
    for (size_t i = 0; i < h->n_models; i++) {
        const struct model *m = &h->models[i];
        if (is_merged_model(m))
            continue;
        fputs("| ", out);
        print_name_as_markdown_code(out, m->name);
        fputs(" | ", out);
        if (m->role)
            print_name_as_markdown_code(out, m->role);
        fputs(" | ", out);
        print_fingerprint(out, m->has_fingerprint, m->fingerprint);
        format_hash(m->name, hashes, hash);
        fprintf(out, hash[0] == '-' ? " | unknown |\n" : " | `%s` |\n", hash);
    }
    print_quantized_models(out, h);
    if (other_base) {
        fputs("\nThe task vectors were added to another model than the one they were made "
              "against: ",
              out);
        print_name_as_markdown_code(out, other_base->name);
        fputs(", fingerprint ", out);
        print_fingerprint(out, other_base->has_fingerprint, other_base->fingerprint);
        fputs(".\n", out);
    }
}

static void print_tensors_section(FILE *out, const struct header *h, size_t n_filled)
{
    size_t merged = h->n_tensors - n_filled;
    fprintf(out, "\n## Tensors\n\n%zu tensor%s.", h->n_tensors, h->n_tensors == 1 ? "" : "s");
    if (n_filled)
        fprintf(out, " %zu of them the merge left out; they are the base's:\n\n", n_filled);
    else
        putc('\n', out);
    for (size_t i = 0; i < n_filled && i < MAX_LISTED; i++) {
        fputs("- ", out);
        print_name_as_markdown_code(out, h->tensors[merged + i].name);
        putc('\n', out);
    }
    if (n_filled > MAX_LISTED)
        fprintf(out, "- and %zu more\n", n_filled - MAX_LISTED);
}

char *model_card_readme_text(const struct header *h, const struct model_hashes *hashes,
                             size_t n_filled, const struct model *other_base)
{
    struct bytes text = {0};
    FILE *out = bytes_open_stream(&text);
    print_front_matter(out, h);
    fputs("\n# Merged model\n\nMade with tvtools " TV_VERSION " by\n\n    ", out);
    print_history_as_pipeline(out, &h->history, 4);
    fputs(" OUT\n", out);
    print_models_section(out, h, hashes, other_base);
    print_tensors_section(out, h, n_filled);
    fclose(out);
    return bytes_take_text(&text);
}
