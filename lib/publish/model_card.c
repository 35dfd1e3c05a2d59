#include "model_card.h"

#include "layer_slice.h"
#include "merge_methods.h"
#include "number.h"
#include "printable.h"
#include "stage.h"
#include "strict_json.h"
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

static char *dump_and_free(json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return text;
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
        json_t *name = strict_json_string(h->models[i].name);
        if (!is_merged_model(&h->models[i]))
            json_object_set_new(all, json_string_value(name),
                                json_string(format_hash(h->models[i].name, hashes, hash)));
        json_decref(name);
    }
    return dump_and_free(all);
}

/* What identifies a model, without its name. */
static json_t *identity_json(const struct model *m)
{
    json_t *json = json_object();
    if (m->role)
        json_object_set_new(json, "role", strict_json_string(m->role));
    if (m->has_fingerprint)
        json_object_set_new(json, "fingerprint",
                            json_sprintf("%016llx", (unsigned long long)m->fingerprint));
    if (m->hub)
        json_object_set_new(json, "hub", strict_json_string(m->hub));
    if (m->commit)
        json_object_set_new(json, "commit", strict_json_string(m->commit));
    if (m->quantization)
        json_object_set_new(json, "quantization", strict_json_string(m->quantization));
    return json;
}

/* Adds {NAME: identity}. */
static void add_identity(json_t *all, const struct model *m)
{
    json_t *name = strict_json_string(m->name);
    json_object_set_new(all, json_string_value(name), identity_json(m));
    json_decref(name);
}

char *model_card_models_json(const struct header *h)
{
    json_t *all = json_object();
    for (size_t i = 0; i < h->n_models; i++)
        if (!is_merged_model(&h->models[i]))
            add_identity(all, &h->models[i]);
    return dump_and_free(all);
}

char *model_card_model_json(const struct model *m)
{
    json_t *all = json_object();
    add_identity(all, m);
    return dump_and_free(all);
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
    json_t *string = strict_json_string(text);
    printable_print_json(out, json_string_value(string), json_string_length(string));
    json_decref(string);
}

enum card_subject { CARD_OF_MODEL, CARD_OF_ADAPTER };

static void print_history_as_pipeline(FILE *out, const struct history *history, int indent);

/* Prints the history of an input as <(...), after the name of that model, if it has one. */
static void print_parent(FILE *out, const struct history *parent, const char *name, int indent)
{
    const char *range = name ? layer_slice_find_range_suffix(name) : NULL;
    fprintf(out, " \\\n%*s", indent + 4, "");
    if (name) {
        char *own = mem_copy_text_n(name, range ? (size_t)(range - name) : strlen(name));
        printable_print_shell_word(out, own);
        putc('=', out);
        free(own);
    }
    fputs("<(", out);
    print_history_as_pipeline(out, parent, indent + 6);
    fprintf(out, ")%s", range ? range : "");
}

/* The parents of a step that reads models belong to its operands. */
static void print_arguments_and_parents(FILE *out, const struct history_step *s, int indent)
{
    size_t parent = 0;
    bool only_operands = false;
    for (size_t j = 0; j < s->n_arguments; j++) {
        const char *word = s->arguments[j];
        bool is_operand = only_operands || stage_word_is_operand(word);
        only_operands |= strcmp(word, "--") == 0;
        const struct history *of_model =
            is_operand && parent < s->n_parents ? &s->parents[parent++] : NULL;
        if (of_model && of_model->n) {
            print_parent(out, of_model, word, indent);
            continue;
        }
        putc(' ', out);
        printable_print_shell_word(out, word);
    }
    for (; parent < s->n_parents; parent++)
        print_parent(out, &s->parents[parent], NULL, indent);
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
        print_arguments_and_parents(out, s, indent);
    }
}

/* Is an earlier model the same one of the Hub? */
static bool is_listed(const struct header *h, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (h->models[j].hub && strcmp(h->models[j].hub, h->models[i].hub) == 0)
            return true;
    return false;
}

/* The models that the Hub has; of an adapter, the base. The Hub rejects other names. */
static void print_base_models(FILE *out, const struct header *h, enum card_subject subject)
{
    size_t n = 0;
    for (size_t i = 0; i < h->n_models; i++) {
        const struct model *m = &h->models[i];
        bool counts = subject == CARD_OF_MODEL || (m->role && strcmp(m->role, "base") == 0);
        if (is_merged_model(m) || !m->hub || !counts || is_listed(h, i))
            continue;
        fputs(n++ == 0 ? "base_model:\n- " : "- ", out);
        print_quoted(out, m->hub);
        putc('\n', out);
    }
    if (n > 0)
        fprintf(out, "base_model_relation: %s\n", subject == CARD_OF_MODEL ? "merge" : "adapter");
}

/* The line of library_name, the last one; NULL. */
static const char *find_library(const char *metadata)
{
    static const char key[] = "library_name:";
    const char *line = metadata;
    while (line && strncmp(line, key, sizeof key - 1) != 0) {
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return line;
}

static void print_front_matter(FILE *out, const struct header *h, enum card_subject subject,
                               const char *metadata)
{
    const char *library = find_library(metadata);
    fputs("---\n", out);
    print_base_models(out, h, subject);
    fprintf(out, "%.*s", (int)(library ? (size_t)(library - metadata) : strlen(metadata)),
            metadata);
    if (subject == CARD_OF_ADAPTER)
        fputs("library_name: peft\n", out);
    else
        fputs(library ? library : "library_name: transformers\n", out);
    fputs("tags:\n- merge\n- tvtools\n---\n", out);
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

static void print_hub_name(FILE *out, const struct model *m)
{
    fputs(" | ", out);
    if (m->hub)
        print_name_as_markdown_code(out, m->hub);
    if (m->hub && m->commit) {
        fputs(", commit ", out);
        print_name_as_markdown_code(out, m->commit);
    }
}

static bool any_model_has_hub_name(const struct header *h)
{
    bool has = false;
    for (size_t i = 0; i < h->n_models; i++)
        has |= h->models[i].hub != NULL;
    return has;
}

static void print_models_section(FILE *out, const struct header *h,
                                 const struct model_hashes *hashes, const struct model *other_base)
{
    bool has_hub = any_model_has_hub_name(h);
    char hash[17];
    fprintf(out,
            "\n## Models\n\n"
            "| model | role | fingerprint | full hash of what was read |%s\n"
            "|---|---|---|---|%s\n",
            has_hub ? " Hugging Face Hub |" : "", has_hub ? "---|" : "");
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
        fprintf(out, hash[0] == '-' ? " | unknown" : " | `%s`", hash);
        if (has_hub)
            print_hub_name(out, m);
        fputs(" |\n", out);
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

static void print_weights_section(FILE *out, const struct header *h,
                                  const struct used_weights *weights)
{
    char number[32];
    struct used_weights_summary *models;
    size_t n = used_weights_summarize(weights, h, &models);
    if (n)
        fputs("\n## Weights\n\n"
              "Those that the joins applied to the models, over all tensors.\n\n"
              "| model | mean | least | greatest |\n"
              "|---|---|---|---|\n",
              out);
    for (size_t i = 0; i < n; i++) {
        fputs("| ", out);
        print_name_as_markdown_code(out, models[i].model);
        fprintf(out, " | %.4g", models[i].sum / (double)models[i].tensors);
        fprintf(out, " | %s", number_format(models[i].least, number));
        fprintf(out, " | %s |\n", number_format(models[i].most, number));
    }
    free(models);
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

/* The longest run of '`' in the text. */
static size_t longest_run_of_backticks(const char *text)
{
    size_t longest = 0, n;
    for (; *text; text += n ? n : 1) {
        n = strspn(text, "`");
        longest = n > longest ? n : longest;
    }
    return longest;
}

/* The configuration in a fence that nothing in it closes. */
static void print_config(FILE *out, const char *config)
{
    static const char marks[] = "````````````````";
    size_t n = longest_run_of_backticks(config) + 1;
    if (n >= sizeof marks)
        return;
    int fence = n < 3 ? 3 : (int)n;
    fprintf(out, "\nThe configuration, in `mergekit_config.yml`:\n\n%.*syaml\n", fence, marks);
    for (const char *c = config; *c; c++)
        putc((unsigned char)*c < ' ' && *c != '\n' && *c != '\t' ? '?' : *c, out);
    fprintf(out, "%s%.*s\n", strlen(config) && config[strlen(config) - 1] != '\n' ? "\n" : "",
            fence, marks);
}

/* The command that recomputes the merge; PATH is a model that the Hub does not have. */
static void print_verify_section(FILE *out, const struct header *h)
{
    fputs("\n## Verification\n\nTo recompute this, and compare every tensor:\n\n    tv verify OUT",
          out);
    for (size_t i = 0; i < h->n_models; i++) {
        const struct model *m = &h->models[i];
        if (is_merged_model(m))
            continue;
        putc(' ', out);
        printable_print_shell_word(out, m->name);
        putc('=', out);
        printable_print_shell_word(out, m->hub ? m->hub : "PATH");
    }
    putc('\n', out);
}

/* The sections up to that of the tensors. */
static void print_merge(FILE *out, const struct header *h, enum card_subject subject,
                        const struct model_hashes *hashes, const struct used_weights *weights,
                        const struct model *other_base, const struct card_texts *texts)
{
    print_front_matter(out, h, subject, texts->metadata);
    fprintf(out, "\n# Merged %s\n\nMade with tvtools " TV_VERSION " by\n\n    ",
            subject == CARD_OF_MODEL ? "model" : "adapter");
    print_history_as_pipeline(out, &h->history, 4);
    fputs(" OUT\n", out);
    merge_methods_print(out, &h->history);
    if (texts->config)
        print_config(out, texts->config);
    print_models_section(out, h, hashes, other_base);
    print_weights_section(out, h, weights);
}

char *model_card_readme_text(const struct header *h, const struct model_hashes *hashes,
                             const struct used_weights *weights, size_t n_filled,
                             const struct model *other_base, const struct card_texts *texts)
{
    struct bytes text = {0};
    FILE *out = bytes_open_stream(&text);
    print_merge(out, h, CARD_OF_MODEL, hashes, weights, other_base, texts);
    print_tensors_section(out, h, n_filled);
    print_verify_section(out, h);
    fclose(out);
    return bytes_take_text(&text);
}

char *model_card_adapter_text(const struct header *h, const struct model_hashes *hashes,
                              const struct used_weights *weights, const struct model *other_base,
                              const struct card_texts *texts)
{
    struct bytes text = {0};
    FILE *out = bytes_open_stream(&text);
    print_merge(out, h, CARD_OF_ADAPTER, hashes, weights, other_base, texts);
    fclose(out);
    return bytes_take_text(&text);
}
