#include "stage.h"

#include "glob_pattern.h"

#include <stdlib.h>
#include <string.h>

#define COMMON(field) offsetof(struct common_options, field)
static const struct option_row common_rows[] = {
    {"threads", OPTION_COUNT, COMMON(threads), "N",
     "use N threads (default 1; one per CPU for matrix products)", .not_in_history = true},
    {"memory", OPTION_SIZE, COMMON(memory), "SIZE",
     "hold up to SIZE bytes of a tensor in memory and the rest in a temporary file (default 1G)",
     .default_value = "1G", .not_in_history = true},
    {"progress", OPTION_FLAG, COMMON(progress), NULL,
     .help = "print a line of progress per second on standard error, for scripts",
     .not_in_history = true},
    {"quiet", OPTION_FLAG, COMMON(quiet), NULL, .help = "print no notes and show no progress",
     .not_in_history = true},
    {"spool", OPTION_FILE, COMMON(spool), "DIR",
     "write temporary files to the folder DIR (default $TMPDIR, or /var/tmp if it is not set)",
     .not_in_history = true},
    {"allow-nonfinite", OPTION_FLAG, COMMON(allow_nonfinite), NULL,
     .help = "accept NaN and infinity"},
    {0}};
static const struct option_row element_wise_rows[] = {
    {"include", OPTION_STRINGS, COMMON(include), "GLOB",
     .help = "process only tensors whose name matches GLOB; repeatable"},
    {"exclude", OPTION_STRINGS, COMMON(exclude), "GLOB",
     .help = "do not process tensors whose name matches GLOB; repeatable"},
    {0}};
#undef COMMON

/* ---- options --------------------------------------------------------------------------------- */

static void *get_option_field(void *base, const struct option_row *o)
{
    return (char *)base + o->offset;
}

/* Appends the rows of a table, whose fields lie in `base`; the new number of options. */
static size_t append_option_rows(struct stage_option *options, size_t n, const struct option_row *o,
                                 void *base)
{
    for (; o && o->name; o++)
        options[n++] = (struct stage_option){o, get_option_field(base, o)};
    return n;
}

size_t stage_list_options(const struct stage *s, struct stage_option options[STAGE_OPTIONS_MAX])
{
    void *common = (void *)&s->common;
    size_t n = append_option_rows(options, 0, s->filter->options, s->options);
    if (s->filter->element_wise)
        n = append_option_rows(options, n, element_wise_rows, common);
    return append_option_rows(options, n, common_rows, common);
}

struct stage_option stage_operand_option(const struct stage *s)
{
    const struct option_row *o = s->filter->operand_row;
    return (struct stage_option){o, o ? get_option_field(s->options, o) : NULL};
}

size_t stage_list_rules(const struct stage *s, struct stage_option options[STAGE_OPTIONS_MAX])
{
    size_t n = stage_list_options(s, options), n_rules = 0;
    for (size_t i = 0; i < n; i++)
        if (option_row_has_rules(options[i].row))
            options[n_rules++] = options[i];
    if (s->filter->operand_row)
        options[n_rules++] = stage_operand_option(s);
    return n_rules;
}

const char *stage_option_label(struct stage *s, const struct option_row *o)
{
    return o == s->filter->operand_row ? o->name : arena_printf(&s->arena, "--%s", o->name);
}

int stage_parse_option(struct stage *s, const struct stage_option *o, const char *text,
                       struct error *e)
{
    return option_row_parse(o->row, o->field, text, stage_option_label(s, o->row), &s->arena, e);
}

int stage_set_option(struct stage *s, const struct option_row *o, const char *text, struct error *e)
{
    return stage_parse_option(s, &(struct stage_option){o, get_option_field(s->options, o)}, text,
                              e);
}

/* ---- stages ---------------------------------------------------------------------------------- */

struct stage *stage_new(const struct filter *f)
{
    struct stage *s = mem_alloc(1, sizeof *s);
    struct stage_option options[STAGE_OPTIONS_MAX];
    struct error ignored; /* defaults are valid */
    s->filter = f;
    s->name = f->name;
    s->options = mem_alloc(1, f->options_size);
    size_t n = stage_list_options(s, options);
    s->given = mem_alloc(n, sizeof *s->given);
    for (size_t i = 0; i < n; i++) {
        if (options[i].row->kind == OPTION_CHOICE)
            *(int *)options[i].field = -1;
        if (options[i].row->default_value)
            stage_parse_option(s, &options[i], options[i].row->default_value, &ignored);
    }
    return s;
}

void stage_free(struct stage *s)
{
    if (!s)
        return;
    struct stage_option rules[STAGE_OPTIONS_MAX];
    size_t n = stage_list_rules(s, rules);
    for (size_t i = 0; i < n; i++)
        tensor_rules_free(rules[i].field);
    free(s->options);
    free(s->given);
    arena_free(&s->arena);
    free(s);
}

size_t stage_option_position(const struct stage *s, const char *option)
{
    size_t i = 0;
    while (s->filter->options[i].name && strcmp(s->filter->options[i].name, option) != 0)
        i++;
    return i;
}

bool stage_is_given(const struct stage *s, const char *option)
{
    size_t i = stage_option_position(s, option);
    return s->filter->options[i].name && s->given[i];
}

bool stage_excludes_tensor(const struct stage *s, const struct tensor *t)
{
    bool included = s->common.include.n == 0;
    for (size_t i = 0; i < s->common.include.n; i++)
        included |= glob_pattern_matches(s->common.include.items[i], t->name);
    for (size_t i = 0; i < s->common.exclude.n; i++)
        included &= !glob_pattern_matches(s->common.exclude.items[i], t->name);
    return !included;
}

/* ---- history --------------------------------------------------------------------------------- */

void stage_record_operand(struct stage *s, const char *text)
{
    string_list_append(&s->recorded_operands, &s->arena, text);
}

bool stage_word_is_operand(const char *word)
{
    return word[0] != '-' || !word[1] || strchr(".0123456789#", word[1]);
}

/* An operand that begins with '-' and is no number comes after "--". */
static void append_operand(struct string_list *words, struct arena *a, const char *text,
                           bool *after_options)
{
    if (!*after_options && !stage_word_is_operand(text)) {
        string_list_append(words, a, "--");
        *after_options = true;
    }
    string_list_append(words, a, text);
}

void stage_record_fingerprint(struct stage *s, uint64_t fingerprint)
{
    s->fingerprints = arena_grow(&s->arena, s->fingerprints, s->n_fingerprints,
                                 &s->fingerprint_capacity, sizeof *s->fingerprints);
    s->fingerprints[s->n_fingerprints++] = fingerprint;
}

void stage_record_option(struct stage *s, const char *text)
{
    string_list_append(&s->recorded_options, &s->arena, text);
}

void stage_record_file(struct stage *s, const char *option, uint64_t hash)
{
    stage_record_option(
        s, arena_printf(&s->arena, "--%s=xxh3:%016llx", option, (unsigned long long)hash));
}

static bool has_ending(const char *text, const char *ending)
{
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && strcmp(text + n - m, ending) == 0;
}

bool stage_history_contains_file(const struct history *history, uint64_t hash)
{
    char ending[32];
    bool found = false;
    snprintf(ending, sizeof ending, "=xxh3:%016llx", (unsigned long long)hash);
    for (size_t i = 0; i < history->n && !found; i++) {
        const struct history_step *step = &history->steps[i];
        for (size_t j = 0; j < step->n_arguments && !found; j++)
            found = has_ending(step->arguments[j], ending);
        for (size_t j = 0; j < step->n_parents && !found; j++)
            found = stage_history_contains_file(&step->parents[j], hash);
    }
    return found;
}

static void append_operand_words(const struct stage *s, struct arena *a, struct string_list *words)
{
    const struct string_list *operands =
        s->filter->operands_are_files ? &s->recorded_operands : &s->operands;
    const struct tensor_rules *rules = stage_operand_option(s).field;
    bool after_options = false;
    for (size_t i = 0; rules && i < tensor_rules_count(rules); i++) /* with those of @FILE */
        append_operand(words, a, tensor_rules_rule_text(rules, i), &after_options);
    for (size_t i = 0; !rules && i < operands->n; i++)
        append_operand(words, a, operands->items[i], &after_options);
}

struct string_list stage_history_arguments(struct stage *s, struct arena *a)
{
    struct stage_option options[STAGE_OPTIONS_MAX];
    struct string_list words = {0};
    size_t n = stage_list_options(s, options);
    for (size_t i = 0; i < n; i++)
        if (s->given[i] && !options[i].row->not_in_history)
            option_row_append_words(options[i].row, options[i].field, a, &words);
    for (size_t i = 0; i < s->recorded_options.n; i++)
        string_list_append(&words, a, s->recorded_options.items[i]);
    append_operand_words(s, a, &words);
    return words;
}

void stage_add_history_step(struct stage *s, struct header *h)
{
    struct string_list arguments = stage_history_arguments(s, &h->arena);
    struct history_step *step =
        header_add_history_step(h, s->filter->name, arguments.n, arguments.items);
    step->n_fingerprints = s->n_fingerprints;
    step->fingerprints = s->fingerprints;
    step->blas = s->blas;
    step->n_parents = s->n_parents;
    step->parents = s->parents;
}
