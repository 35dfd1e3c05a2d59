#include "recorded_step.h"

#include "stage.h"
#include "vocabulary_request.h"

#include <stdlib.h>
#include <string.h>

#define HASH_PREFIX "xxh3:"

static const struct {
    const char *tool;
    enum recorded_step_kind kind;
} special_kinds[] = {{"unpack", RECORDED_STEP_MODELS},
                     {"tv-extract", RECORDED_STEP_MODELS},
                     {"join-streams", RECORDED_STEP_STREAMS},
                     {"stack", RECORDED_STEP_STREAMS},
                     {"add-base", RECORDED_STEP_ADD_BASE},
                     {"calibrate", RECORDED_STEP_CALIBRATION},
                     {"pack", RECORDED_STEP_PACK}};
static const char *const base_options[] = {"base", "onto", "like"};

/* What the functions here need. */
struct reading {
    struct recorded_step *step;
    struct stage *stage; /* for checking values */
    struct stage_option options[STAGE_OPTIONS_MAX];
    size_t n_options, number;
    struct arena *a;
    struct error *e;
};

/* ---- the filter ------------------------------------------------------------------------------ */

static const struct filter *find_filter(const struct filter *const *filters, const char *name)
{
    for (; *filters; filters++)
        if (strcmp((*filters)->name, name) == 0)
            return *filters;
    return NULL;
}

static enum recorded_step_kind find_kind(const char *tool)
{
    for (size_t i = 0; i < sizeof special_kinds / sizeof *special_kinds; i++)
        if (strcmp(special_kinds[i].tool, tool) == 0)
            return special_kinds[i].kind;
    return RECORDED_STEP_FILTER;
}

static int check_filter(const struct recorded_step *s, const struct history_step *from,
                        size_t number, struct error *e)
{
    if (!s->filter)
        return error_set(e, "cannot be verified at step %zu: %s is not part of tvtools", number,
                         from->tool);
    bool computes = s->filter->role == ROLE_FILTER && !s->filter->operands_are_files;
    if (s->kind == RECORDED_STEP_FILTER && !computes)
        return error_set(e, "cannot be verified at step %zu: tv verify does not recompute %s",
                         number, from->tool);
    return 0;
}

/* ---- options --------------------------------------------------------------------------------- */

static int set_refusal(const struct reading *r, const char *word)
{
    return error_set(r->e, "its history was not written by tvtools: step %zu, %s: unexpected %s",
                     r->number, r->step->filter->name, word);
}

/* The option of the stage in "--NAME" or "--NAME=VALUE"; its number, n_options if there is none.
 * *value is NULL if the word has none. */
static size_t find_option(const struct reading *r, const char *word, const char **value)
{
    size_t length = strcspn(word + 2, "="), i = 0;
    *value = word[2 + length] ? word + 3 + length : NULL;
    for (; i < r->n_options; i++) {
        const char *name = r->options[i].row->name;
        if (strlen(name) == length && strncmp(name, word + 2, length) == 0)
            break;
    }
    return i;
}

static bool is_hash(const char *text)
{
    size_t n = sizeof HASH_PREFIX - 1;
    return strncmp(text, HASH_PREFIX, n) == 0 && strlen(text + n) == 16 &&
           strspn(text + n, "0123456789abcdef") == 16;
}

const char *recorded_step_option_hash(const struct recorded_step *s, const char *option,
                                      bool *of_model, uint64_t *hash)
{
    size_t length = strcspn(option, "=");
    for (const struct option_row *o = s->filter->options; o && o->name; o++)
        if ((o->kind == OPTION_FILE || o->kind == OPTION_MODEL_FILES) &&
            strlen(o->name) + 2 == length && strncmp(o->name, option + 2, length - 2) == 0) {
            const char *found = strrchr(option, '=') + 1;
            *of_model = o->kind == OPTION_MODEL_FILES;
            *hash = strtoull(found + sizeof HASH_PREFIX - 1, NULL, 16);
            return found;
        }
    return NULL;
}

static int parse_value(struct reading *r, const struct stage_option *o, const char *value)
{
    struct error own;
    if (stage_parse_option(r->stage, o, value, &own) == 0)
        return 0;
    return error_set(r->e, "its history was not written by tvtools: step %zu, %s: %.500s",
                     r->number, r->step->filter->name, own.text);
}

/* A vocabulary without paths. */
static int check_vocabulary(struct reading *r, const char *word, const char *value)
{
    struct vocabulary_request v;
    struct error own;
    if (vocabulary_request_parse(&v, value, r->a, &own))
        return set_refusal(r, word);
    bool has_paths = v.source_path && *v.source_path;
    for (size_t i = 0; i < v.n_models; i++)
        has_paths |= *v.models[i].path != '\0';
    return has_paths ? set_refusal(r, word) : 0;
}

/* Checks the value of an option that a history may have. */
static int check_value(struct reading *r, size_t i, const char *word, const char *value)
{
    const struct option_row *o = r->options[i].row;
    if (o->not_in_history || (o->kind == OPTION_FLAG) != !value)
        return set_refusal(r, word);
    if (o->kind == OPTION_FILE)
        return is_hash(value) ? 0 : set_refusal(r, word);
    if (o->kind == OPTION_MODEL_FILES) {
        const char *equals = strrchr(value, '=');
        return equals && is_hash(equals + 1) ? 0 : set_refusal(r, word);
    }
    if (o->kind == OPTION_VOCABULARY)
        return check_vocabulary(r, word, value);
    if (option_row_has_rules(o) && *value == '@') /* a file of rules */
        return set_refusal(r, word);
    return parse_value(r, &r->options[i], value);
}

/* The model that pack names. False if the word is another option. */
static bool read_base_of_pack(struct reading *r, const char *word)
{
    for (size_t i = 0; i < sizeof base_options / sizeof *base_options; i++) {
        size_t n = strlen(base_options[i]);
        if (strncmp(word + 2, base_options[i], n) == 0 && word[2 + n] == '=') {
            r->step->base_option = base_options[i];
            r->step->base = word + 3 + n;
            return true;
        }
    }
    return false;
}

static int read_option(struct reading *r, const char *word)
{
    const char *value;
    struct recorded_step *s = r->step;
    if (strncmp(word, "--", 2) != 0)
        return set_refusal(r, word);
    if (s->kind == RECORDED_STEP_PACK && !s->base && read_base_of_pack(r, word))
        return 0;
    size_t i = find_option(r, word, &value);
    if (i == r->n_options)
        return set_refusal(r, word);
    if (check_value(r, i, word, value))
        return -1;
    r->stage->given[i] = true;
    s->options[s->n_options++] = word;
    return 0;
}

static int read_operand(struct reading *r, const char *word)
{
    struct recorded_step *s = r->step;
    const struct stage_option rules = stage_operand_option(r->stage);
    if (s->n_operands >= s->filter->max_operands || (rules.row && *word == '@') ||
        s->kind == RECORDED_STEP_STREAMS || s->kind == RECORDED_STEP_PACK)
        return set_refusal(r, arena_printf(r->a, "operand %s", word));
    s->operands[s->n_operands++] = word;
    return rules.row ? parse_value(r, &rules, word) : 0;
}

static int set_missing(const struct reading *r, const char *what)
{
    return error_set(r->e, "its history was not written by tvtools: step %zu, %s: expected %s",
                     r->number, r->step->filter->name, what);
}

/* ---- the step -------------------------------------------------------------------------------- */

static int read_words(struct reading *r, const struct history_step *from)
{
    bool only_operands = false;
    for (size_t i = 0; i < from->n_arguments; i++) {
        const char *word = from->arguments[i];
        if (!only_operands && strcmp(word, "--") == 0)
            only_operands = true;
        else if (only_operands || stage_word_is_operand(word) ? read_operand(r, word)
                                                              : read_option(r, word))
            return -1;
    }
    for (size_t i = 0; i < r->n_options; i++)
        if (r->options[i].row->required && !r->stage->given[i])
            return error_set(
                r->e, "its history was not written by tvtools: step %zu, %s: --%s is missing",
                r->number, from->tool, r->options[i].row->name);
    return 0;
}

/* The models that the step names, each with its fingerprint. */
static int check_models(const struct reading *r, const struct history_step *from)
{
    const struct recorded_step *s = r->step;
    size_t n = s->kind == RECORDED_STEP_PACK ? s->base != NULL : s->n_operands;
    bool reads_models = s->kind == RECORDED_STEP_MODELS || s->kind == RECORDED_STEP_ADD_BASE ||
                        s->kind == RECORDED_STEP_PACK;
    if (!reads_models && s->kind != RECORDED_STEP_STREAMS)
        return from->n_parents ? set_refusal(r, "parents") : 0;
    if (s->kind == RECORDED_STEP_STREAMS)
        return from->n_parents ? 0 : set_missing(r, "a history for each input");
    if ((from->n_fingerprints && from->n_fingerprints != n) ||
        (from->n_parents && from->n_parents != n))
        return set_refusal(r, "number of models");
    if (s->kind == RECORDED_STEP_MODELS && n == 0 && s->filter->source.only_with_operands)
        r->step->kind = RECORDED_STEP_FILTER; /* tv-extract of a stream */
    return s->kind != RECORDED_STEP_PACK && n < s->filter->min_operands ? set_missing(r, "a model")
                                                                        : 0;
}

int recorded_step_read(struct recorded_step *s, const struct history_step *from, size_t number,
                       const struct filter *const *filters, struct arena *a, struct error *e)
{
    *s = (struct recorded_step){.filter = find_filter(filters, from->tool),
                                .kind = find_kind(from->tool)};
    if (check_filter(s, from, number, e))
        return -1;
    if (s->kind == RECORDED_STEP_CALIBRATION)
        return 0;
    struct reading r = {.step = s, .number = number, .a = a, .e = e};
    s->options = arena_alloc(a, from->n_arguments, sizeof *s->options);
    s->operands = arena_alloc(a, from->n_arguments, sizeof *s->operands);
    r.stage = stage_new(s->filter);
    r.n_options = stage_list_options(r.stage, r.options);
    int failed = read_words(&r, from) || check_models(&r, from);
    stage_free(r.stage);
    return failed ? -1 : 0;
}
