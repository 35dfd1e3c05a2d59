#include "command_line.h"

#include "printable.h"
#include "spelling_suggestion.h"
#include "stage_outputs.h"

#include <argp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPTION_NAME_MAX 100 /* bytes of an unknown option in a message */
#define FIRST_KEY       256 /* argp keys of the options start here: there are no short options */

/* Prints one sentence and exits with the status of a usage error. */
static void exit_with_usage_error(const struct stage *s, const char *format, ...)
{
    struct error e;
    char text[sizeof e.text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_set(&e, "%s", text);
    printable_message("%s: %s", s->filter->name, e.text);
    exit(2);
}

/* A required option that is missing; its row is NULL if there is none. */
static struct stage_option find_missing_required_option(const struct stage *s)
{
    struct stage_option options[STAGE_OPTIONS_MAX];
    size_t n = stage_list_options(s, options);
    for (size_t i = 0; i < n; i++)
        if (options[i].row->required && !s->given[i])
            return options[i];
    return (struct stage_option){0};
}

/* Suggests the option whose value it may be, or standard input for a file. */
static void exit_with_unexpected_operand(struct stage *s, const char *operand)
{
    struct error ignored;
    char number[32];
    const struct stage_option missing = find_missing_required_option(s);
    const char *fraction = number_fraction_of_percentage(operand, number);
    const char *value = fraction ? fraction : operand;
    if (missing.row && stage_parse_option(s, &missing, value, &ignored) == 0)
        exit_with_usage_error(s, "unexpected operand %.200s (did you mean --%s %.200s?)", operand,
                              missing.row->name, value);
    if (s->filter->role == ROLE_FILTER && s->filter->max_operands == 0 &&
        access(operand, F_OK) == 0)
        exit_with_usage_error(s, "unexpected operand %.200s (%s reads standard input: %s < %.200s)",
                              operand, s->filter->name, s->filter->name, operand);
    exit_with_usage_error(s, "unexpected operand %.200s", operand);
}

static void parse_operand(struct stage *s, const char *operand)
{
    struct error e;
    if (s->operands.n == s->filter->max_operands)
        exit_with_unexpected_operand(s, operand);
    string_list_append(&s->operands, &s->arena, operand);
    const struct stage_option rules = stage_operand_option(s);
    if (rules.row && stage_parse_option(s, &rules, operand, &e))
        exit_with_usage_error(s, "%s", e.text);
}

static void check_arguments(const struct stage *s)
{
    if (s->operands.n < s->filter->min_operands)
        exit_with_usage_error(s, "missing operand; expected %s", s->filter->operands);
    const struct option_row *missing = find_missing_required_option(s).row;
    struct error e;
    if (missing)
        exit_with_usage_error(s, "--%s is required", missing->name);
    if (stage_outputs_check_distinct(&s, 1, NULL, &e) ||
        (s->filter->check_options && s->filter->check_options(s, &e)))
        exit_with_usage_error(s, "%s", e.text);
}

static error_t parse_argp_option(int key, char *argument, struct argp_state *state)
{
    struct stage *s = state->input;
    struct stage_option options[STAGE_OPTIONS_MAX];
    size_t n = stage_list_options(s, options);
    struct error e;
    if (key == ARGP_KEY_ARG) {
        parse_operand(s, argument);
        return 0;
    }
    if (key == ARGP_KEY_END) {
        check_arguments(s);
        return 0;
    }
    if (key < FIRST_KEY || (size_t)(key - FIRST_KEY) >= n)
        return ARGP_ERR_UNKNOWN;
    s->given[key - FIRST_KEY] = true;
    if (stage_parse_option(s, &options[key - FIRST_KEY], argument, &e))
        exit_with_usage_error(s, "%s", e.text);
    return 0;
}

/* ---- negative numbers as operands ------------------------------------------------------------ */

/* Is the word "--NAME" in full? */
static bool is_full_option_name(const char *word, const char *name)
{
    return name && strcmp(word + 2, name) == 0;
}

/* Is the word an option, perhaps abbreviated, whose argument is the next word? */
static bool is_option_taking_next_word(const struct stage_option *options, size_t n,
                                       const char *word)
{
    size_t length = strlen(word);
    bool takes = false;
    for (size_t i = 0; i < n && length > 2 && strncmp(word, "--", 2) == 0; i++) {
        const struct option_row *o = options[i].row;
        bool has_argument = o->kind != OPTION_FLAG;
        if (is_full_option_name(word, o->name) || is_full_option_name(word, o->alias))
            return has_argument;
        takes |= has_argument && (strncmp(o->name, word + 2, length - 2) == 0 ||
                                  (o->alias && strncmp(o->alias, word + 2, length - 2) == 0));
    }
    return takes;
}

/* argp would take an operand such as the -1 of "rescale -1" for an option: a copy of argv, ended by
 * NULL, with all operands in their order behind a "--". To be freed. */
static char **move_operands_to_end(const struct stage_option *options, size_t n, int argc,
                                   char **argv)
{
    char **out = mem_alloc((size_t)argc + 2, sizeof *out);
    char **operands = mem_alloc((size_t)argc, sizeof *operands);
    int n_out = 0, n_operands = 0, i = 0;
    out[n_out++] = argv[i++];
    for (bool is_argument = false; i < argc && strcmp(argv[i], "--") != 0; i++) {
        bool operand = !is_argument && stage_word_is_operand(argv[i]);
        is_argument = !is_argument && is_option_taking_next_word(options, n, argv[i]);
        if (operand)
            operands[n_operands++] = argv[i];
        else
            out[n_out++] = argv[i];
    }
    if (n_operands || i < argc)
        out[n_out++] = (char *)"--";
    for (int j = 0; j < n_operands; j++)
        out[n_out++] = operands[j];
    for (i++; i < argc; i++)
        out[n_out++] = argv[i];
    free(operands);
    return out;
}

/* ---- words before argp sees them ------------------------------------------------------------- */

/* The names of all options, aliases included, and of those that argp adds; how many. */
static size_t list_option_names(const struct stage_option *options, size_t n, const char **names)
{
    size_t n_names = 0;
    for (size_t i = 0; i < n; i++) {
        names[n_names++] = options[i].row->name;
        if (options[i].row->alias)
            names[n_names++] = options[i].row->alias;
    }
    names[n_names++] = "help";
    names[n_names++] = "usage";
    names[n_names++] = "version";
    return n_names;
}

/* Is the word an option, perhaps abbreviated? Otherwise exits and suggests one. */
static void check_option_name(struct stage *s, const struct stage_option *options, size_t n,
                              const char *word)
{
    const char *names[2 * STAGE_OPTIONS_MAX + 3];
    size_t n_names = list_option_names(options, n, names), length = strcspn(word + 2, "=");
    for (size_t i = 0; i < n_names; i++)
        if (strncmp(names[i], word + 2, length) == 0)
            return;
    const char *name = arena_copy_text_n(&s->arena, word + 2, length);
    const char *suggestion = spelling_suggestion_find(name, n_names, names);
    if (suggestion)
        exit_with_usage_error(s, "unrecognized option --%s (did you mean --%s?)", name, suggestion);
    exit_with_usage_error(s, "unrecognized option --%.*s (%s --help lists the options)",
                          OPTION_NAME_MAX, name, s->filter->name);
}

/* Checks the names of options, and writes --help for -h. */
static void check_option_names(struct stage *s, const struct stage_option *options, size_t n,
                               char **words)
{
    static char help[] = "--help";
    for (bool is_argument = false; *words && strcmp(*words, "--") != 0; words++) {
        if (!is_argument && strcmp(*words, "-h") == 0)
            *words = help;
        if (!is_argument && strncmp(*words, "--", 2) == 0)
            check_option_name(s, options, n, *words);
        is_argument = !is_argument && is_option_taking_next_word(options, n, *words);
    }
}

/* ---- argp ------------------------------------------------------------------------------------ */

/* The table for argp, ended by a zeroed entry; to be freed. Each option is a separate group,
 * because argp sorts a group by name. */
static struct argp_option *make_argp_option_table(const struct stage_option *options, size_t n)
{
    struct argp_option *table = mem_alloc(2 * n + 1, sizeof *table);
    size_t length = 0;
    for (size_t i = 0; i < n; i++) {
        const struct option_row *o = options[i].row;
        table[length++] = (struct argp_option){.name = o->name,
                                               .key = FIRST_KEY + (int)i,
                                               .arg = o->argument,
                                               .doc = o->help,
                                               .group = (int)i + 1};
        if (o->alias)
            table[length++] = (struct argp_option){.name = o->alias,
                                                   .key = FIRST_KEY + (int)i,
                                                   .arg = o->argument,
                                                   .flags = OPTION_HIDDEN,
                                                   .group = (int)i + 1};
    }
    return table;
}

static void parse_words_with_argp(struct stage *s, const struct argp_option *options, char **words)
{
    const struct filter *f = s->filter;
    char *doc = arena_printf(&s->arena, "%s.\v%s", f->summary, f->notes ? f->notes : "");
    struct argp argp = {
        .options = options, .parser = parse_argp_option, .args_doc = f->operands, .doc = doc};
    int count = 0;
    while (words[count])
        count++;
    argp_program_version = arena_printf(&s->arena, "%s (tvtools) %s", f->name, TV_VERSION);
    argp_err_exit_status = 2;
    int failed = argp_parse(&argp, count, words, 0, NULL, s);
    if (failed == ENOMEM)
        mem_exit();
    if (failed)
        exit_with_usage_error(s, "%s", strerror(failed));
    argp_program_version = NULL;
}

struct stage *command_line_parse(const struct filter *f, int argc, char **argv)
{
    struct stage *s = stage_new(f);
    struct stage_option options[STAGE_OPTIONS_MAX];
    size_t n = stage_list_options(s, options);
    struct argp_option *table = make_argp_option_table(options, n);
    char **words = move_operands_to_end(options, n, argc, argv);
    words[0] = (char *)f->name;
    check_option_names(s, options, n, words + 1);
    parse_words_with_argp(s, table, words);
    free(words);
    free(table);
    if (s->common.quiet)
        printable_set_quiet();
    return s;
}
