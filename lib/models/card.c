#include "card.h"

#include "names.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define FILLED_SHOWN 10 /* names of filled-in tensors on the card */

static bool is_merged(const struct model *m)
{
    return m->role && strcmp(m->role, "merged") == 0;
}

/* ---- what the tensors say -------------------------------------------------------------------- */

/* The dtype in which most floating elements are; DTYPE_NONE if there are none. */
static enum dtype main_dtype(const struct header *h)
{
    uint64_t elements[DTYPE_COUNT] = {0};
    enum dtype best = DTYPE_NONE;
    for (size_t i = 0; i < h->n_tensors; i++) {
        enum dtype d = h->tensors[i].vectors[0].dtype;
        if (!dtype_is_float(d))
            continue;
        elements[d] += tensor_elements(&h->tensors[i]);
        if (best == DTYPE_NONE || elements[d] > elements[best])
            best = d;
    }
    for (int d = 0; d < DTYPE_COUNT; d++)
        if (elements[d] > elements[best])
            best = (enum dtype)d;
    return best;
}

static bool has_float8(const struct header *h)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        enum dtype d = h->tensors[i].vectors[0].dtype;
        if (d == DTYPE_F8_E4M3 || d == DTYPE_F8_E5M2)
            return true;
    }
    return false;
}

static bool has_head(const struct header *h)
{
    for (size_t i = 0; i < h->n_tensors; i++)
        if (names_is_head(h->tensors[i].name))
            return true;
    return false;
}

static bool lender_has_head(const struct input *lender)
{
    for (size_t i = 0; i < input_count(lender); i++)
        if (names_is_head(input_tensor(lender, i)->name))
            return true;
    return false;
}

/* Rows of the text embedding among the new tensors, and of the lender's tensor of that name (0:
 * it has none). */
static uint64_t vocabulary(const struct header *h, const struct input *lender, uint64_t *lent)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        if (t->rank != 2 || !names_is_token_embedding(t->name))
            continue;
        long j = input_find(lender, t->name);
        const struct ckpt_tensor *own = j < 0 ? NULL : input_tensor(lender, (size_t)j);
        *lent = own && own->rank == 2 ? own->shape[0] : 0;
        return t->shape[0];
    }
    return 0;
}

/* ---- layer stacks ---------------------------------------------------------------------------- */

static long new_layers(const struct header *h, const char *stack, size_t n)
{
    long last = -1;
    for (size_t i = 0; i < h->n_tensors; i++) {
        long layer = names_layer_in(h->tensors[i].name, stack, n);
        last = layer > last ? layer : last;
    }
    return last + 1;
}

/* Layers now of the text stack, which is the one that had `layers`; 0 if none had. */
static long text_layers(const struct header *h, const struct input *lender, long layers)
{
    size_t n;
    const char *stack = input_text_stack(lender, layers, &n);
    return stack ? new_layers(h, stack, n) : 0;
}

/* ---- config.json ----------------------------------------------------------------------------- */

static const char *const text_parts[] = {"text_config", "llm_config"};
static const char *const all_parts[] = {"text_config", "llm_config", "vision_config"};
static const char *const layer_keys[] = {"num_hidden_layers", "n_layer", "n_layers", "num_layers"};

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* The last of two equal keys counts, as in Python. NULL if this is no JSON object. */
static json_t *read_config(const char *text, size_t size, bool *twice)
{
    json_t *strict = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    json_t *config = strict ? strict : json_loadb(text, size, 0, NULL);
    *twice = !strict && config;
    if (json_is_object(config))
        return config;
    json_decref(config);
    return NULL;
}

/* The integer under a key in the text's part of the config, else at its top; -1 if there is none.
 */
static json_int_t text_number(json_t *config, const char *key)
{
    for (size_t i = 0; i < COUNT(text_parts); i++) {
        json_t *number = json_object_get(json_object_get(config, text_parts[i]), key);
        if (json_is_integer(number))
            return json_integer_value(number);
    }
    json_t *number = json_object_get(config, key);
    return json_is_integer(number) ? json_integer_value(number) : -1;
}

static bool set_number_in(json_t *part, const char *key, json_int_t old, json_int_t value)
{
    json_t *number = json_object_get(part, key);
    if (!json_is_integer(number) || json_integer_value(number) != old || old == value)
        return false;
    json_integer_set(number, value);
    return true;
}

/* Wherever top and text say `old` now. */
static bool set_number(json_t *config, const char *key, json_int_t old, json_int_t value)
{
    bool changed = set_number_in(config, key, old, value);
    for (size_t i = 0; i < COUNT(text_parts); i++)
        changed |= set_number_in(json_object_get(config, text_parts[i]), key, old, value);
    return changed;
}

static bool set_dtype_in(json_t *part, enum dtype d)
{
    static const char *const keys[] = {"torch_dtype", "dtype"};
    bool changed = false;
    for (size_t i = 0; i < COUNT(keys); i++) {
        json_t *old = json_object_get(part, keys[i]);
        if (!old || (json_is_string(old) && dtype_from_user(json_string_value(old)) == d))
            continue;
        json_object_set_new(part, keys[i], json_string(dtype_torch_name(d)));
        changed = true;
    }
    return changed;
}

static bool set_dtype(json_t *config, enum dtype d)
{
    if (d == DTYPE_NONE)
        return false;
    bool changed = set_dtype_in(config, d);
    for (size_t i = 0; i < COUNT(all_parts); i++)
        changed |= set_dtype_in(json_object_get(config, all_parts[i]), d);
    return changed;
}

/* `layer_types` has an entry for each layer: cut or prolonged where all are the same, else left to
 * the class that knows the pattern. */
static void fit_layer_types(json_t *part, size_t layers)
{
    json_t *types = json_object_get(part, "layer_types");
    size_t n = json_array_size(types);
    if (!n || n == layers)
        return;
    for (size_t i = 1; i < n; i++)
        if (!json_equal(json_array_get(types, 0), json_array_get(types, i))) {
            json_object_del(part, "layer_types");
            return;
        }
    while (json_array_size(types) > layers)
        json_array_remove(types, json_array_size(types) - 1);
    while (json_array_size(types) < layers)
        json_array_append(types, json_array_get(types, 0));
}

static bool set_layers(json_t *config, const struct header *h, const struct input *lender)
{
    bool changed = false;
    for (size_t i = 0; i < COUNT(layer_keys); i++) {
        json_int_t old = text_number(config, layer_keys[i]);
        long now = old > 0 ? text_layers(h, lender, (long)old) : 0;
        if (now == 0 || !set_number(config, layer_keys[i], old, now))
            continue;
        changed = true;
        fit_layer_types(config, (size_t)now);
        for (size_t j = 0; j < COUNT(text_parts); j++)
            fit_layer_types(json_object_get(config, text_parts[j]), (size_t)now);
    }
    return changed;
}

static bool set_vocabulary(json_t *config, const struct header *h, const struct input *lender)
{
    uint64_t lent = 0, rows = vocabulary(h, lender, &lent);
    json_int_t old = text_number(config, "vocab_size");
    /* A config may count fewer tokens than its embedding has rows: that is the lender's affair. */
    if (rows == 0 || rows == lent || old < 0)
        return false;
    return set_number(config, "vocab_size", old, (json_int_t)rows);
}

static bool set_flag_in(json_t *part, bool value, bool add)
{
    json_t *old = json_object_get(part, "tie_word_embeddings");
    if (!json_is_object(part) || (old ? json_is_true(old) == value : !add))
        return false;
    json_object_set_new(part, "tie_word_embeddings", json_boolean(value));
    return true;
}

/* A head of its own from the stream unties it; one that went missing must have been the
 * embedding. */
static bool set_tied(json_t *config, const struct header *h, const struct input *lender,
                     bool new_head)
{
    bool had = lender_has_head(lender), has = has_head(h);
    if (has ? !new_head : !had)
        return false;
    bool changed = set_flag_in(config, !has, has != had);
    for (size_t i = 0; i < COUNT(text_parts); i++)
        changed |= set_flag_in(json_object_get(config, text_parts[i]), !has, false);
    return changed;
}

/* Without F8 tensors there is nothing quantized left. */
static bool drop_quantization(json_t *config, const struct header *h)
{
    json_t *q = json_object_get(config, "quantization_config");
    const char *method = json_string_value(json_object_get(q, "quant_method"));
    return method && strcmp(method, "fp8") == 0 && !has_float8(h) &&
           json_object_del(config, "quantization_config") == 0;
}

/* With as few digits as bring every number back: 1e-05 stays 1e-05. */
static char *write_config(const json_t *config)
{
    for (size_t digits = 15;; digits++) {
        char *text = json_dumps(config, JSON_INDENT(2) | JSON_REAL_PRECISION(digits));
        json_t *back = digits < 17 && text ? json_loads(text, 0, NULL) : NULL;
        bool same = digits == 17 || json_equal(config, back);
        json_decref(back);
        if (same && text) {
            size_t n = strlen(text);
            text = mem_resize(text, n + 2, 1);
            memcpy(text + n, "\n", 2);
            return text;
        }
        free(text);
        if (digits == 17)
            return NULL;
    }
}

char *card_config(const char *text, size_t size, const struct input *lender, const struct header *h,
                  bool new_head, const char *tool)
{
    bool twice;
    json_t *config = read_config(text, size, &twice);
    if (!config) {
        fprintf(stderr, "%s: warning: config.json of %s is not JSON; it is copied as it is\n", tool,
                input_name(lender));
        return mem_text(text);
    }
    if (twice)
        fprintf(stderr, "%s: warning: config.json of %s has a key twice; the last one counts\n",
                tool, input_name(lender));
    bool changed = set_dtype(config, main_dtype(h));
    changed |= set_layers(config, h, lender);
    changed |= set_vocabulary(config, h, lender);
    changed |= set_tied(config, h, lender, new_head);
    changed |= drop_quantization(config, h);
    char *updated = changed ? write_config(config) : NULL;
    json_decref(config);
    return updated ? updated : mem_text(text);
}

long card_layers(const char *text, size_t size)
{
    bool twice;
    json_t *config = read_config(text, size, &twice);
    json_int_t layers = -1;
    for (size_t i = 0; config && layers < 0 && i < COUNT(layer_keys); i++)
        layers = text_number(config, layer_keys[i]);
    json_decref(config);
    return layers > 0 ? (long)layers : 0;
}

bool card_says_tied(const char *text, size_t size)
{
    bool twice;
    json_t *config = read_config(text, size, &twice);
    json_t *flag = json_object_get(config, "tie_word_embeddings");
    for (size_t i = 0; !flag && i < COUNT(text_parts); i++)
        flag = json_object_get(json_object_get(config, text_parts[i]), "tie_word_embeddings");
    bool tied = json_is_true(flag);
    json_decref(config);
    return tied;
}

/* ---- metadata -------------------------------------------------------------------------------- */

/* A text from a stream; bytes that are not UTF-8 become '?'. */
static json_t *json_text(const char *text)
{
    json_t *string = json_string(text);
    if (string)
        return string;
    char *plain = mem_text(text);
    for (char *c = plain; *c; c++)
        if (*c & 0x80)
            *c = '?';
    string = json_string(plain);
    free(plain);
    return string;
}

static const char *hash_text(const char *model, const struct card_hashes *hashes, char *text)
{
    for (size_t i = 0; i < hashes->n; i++)
        if (strcmp(hashes->models[i], model) == 0) {
            snprintf(text, 17, "%016llx", (unsigned long long)hashes->hashes[i]);
            return text;
        }
    return strcpy(text, "----------------");
}

char *card_hashes_text(const struct header *h, const struct card_hashes *hashes)
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
        const struct step *s = &history->steps[i];
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

char *card_history_text(const struct header *h)
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
        const struct step *s = &history->steps[i];
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

static void put_models(FILE *out, const struct header *h, const struct card_hashes *hashes,
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

char *card_readme(const struct header *h, const struct card_hashes *hashes, size_t n_filled,
                  const struct model *onto)
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
