#include "pipeline.h"

#include "printable.h"

#include <stdlib.h>
#include <string.h>

struct pipeline_word *pipeline_add_empty_word(struct pipeline_command *c, struct arena *a)
{
    c->words = arena_grow(a, c->words, c->n, &c->capacity, sizeof *c->words);
    return &c->words[c->n++];
}

void pipeline_add_word(struct pipeline_command *c, const char *text, struct arena *a)
{
    pipeline_add_empty_word(c, a)->text = text;
}

/* The position of "--"; c->n if there is none. */
static size_t find_end_of_options(const struct pipeline_command *c)
{
    size_t i = 1;
    while (i < c->n && strcmp(c->words[i].text, "--") != 0)
        i++;
    return i < c->n ? i : c->n;
}

struct pipeline_word *pipeline_add_operand(struct pipeline_command *c, const char *text,
                                           struct arena *a)
{
    if (text[0] == '-' && text[1] && find_end_of_options(c) == c->n)
        pipeline_add_word(c, "--", a);
    struct pipeline_word *w = pipeline_add_empty_word(c, a);
    w->text = text;
    return w;
}

void pipeline_insert_option(struct pipeline_command *c, const char *text, struct arena *a)
{
    size_t end = find_end_of_options(c), n = c->n;
    pipeline_add_empty_word(c, a);
    memmove(&c->words[end + 1], &c->words[end], (n - end) * sizeof *c->words);
    c->words[end] = (struct pipeline_word){.text = text};
}

static struct pipeline_command *append_command(struct pipeline *pipeline, struct arena *a)
{
    pipeline->commands = arena_grow(a, pipeline->commands, pipeline->n, &pipeline->capacity,
                                    sizeof *pipeline->commands);
    return &pipeline->commands[pipeline->n++];
}

struct pipeline_command *pipeline_add_command(struct pipeline *pipeline, const char *name,
                                              struct arena *a)
{
    struct pipeline_command *c = append_command(pipeline, a);
    pipeline_add_word(c, name, a);
    return c;
}

/* ---- parsing -------------------------------------------------------------------------------- */

struct parser {
    const char *at;
    struct arena *a;
    struct error *e;
    struct bytes word; /* the current word, without its quotes */
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

/* A backslash at the end of a line counts as space. */
static void skip_space(struct parser *p)
{
    while (is_space(*p->at) || (p->at[0] == '\\' && p->at[1] == '\n'))
        p->at += *p->at == '\\' ? 2 : 1;
}

static int set_shell_character_error(struct parser *p)
{
    if (strchr("<>&;", *p->at))
        return error_set(p->e, "%c is not supported in a pipeline; write it outside its quotes",
                         *p->at);
    return error_set(p->e, "%c is not expanded in a pipeline; quote it with ' '", *p->at);
}

/* '...': all characters are literal */
static int parse_single_quotes(struct parser *p)
{
    const char *end = strchr(++p->at, '\'');
    if (!end)
        return error_set(p->e, "unterminated '");
    bytes_append(&p->word, p->at, (size_t)(end - p->at));
    p->at = end + 1;
    return 0;
}

/* "...": a backslash quotes one of " \ $ ` */
static int parse_double_quotes(struct parser *p)
{
    for (p->at++; *p->at != '"'; p->at++) {
        if (*p->at == '\0')
            return error_set(p->e, "unterminated \"");
        if (*p->at == '$' || *p->at == '`')
            return set_shell_character_error(p);
        if (*p->at == '\\' && p->at[1] && strchr("\"\\$`\n", p->at[1]))
            p->at++;
        bytes_append(&p->word, p->at, 1);
    }
    p->at++;
    return 0;
}

/* The byte of \xHH; 0 if it is invalid. */
static char parse_hex_byte(struct parser *p)
{
    char digits[3] = {p->at[1], p->at[1] ? p->at[2] : '\0', '\0'};
    if (digits[strspn(digits, "0123456789abcdefABCDEF")] || !digits[1])
        return '\0';
    p->at += 2;
    return (char)strtoul(digits, NULL, 16);
}

/* $'...': pipeline_print writes control characters as \xHH */
static int parse_escapes(struct parser *p)
{
    static const char letters[] = "\\'\"nrte", meanings[] = "\\'\"\n\r\t\033";
    for (p->at += 2; *p->at != '\''; p->at++) {
        char c = *p->at;
        if (c == '\\') {
            const char *letter = *++p->at ? strchr(letters, *p->at) : NULL;
            c = letter ? meanings[letter - letters] : *p->at == 'x' ? parse_hex_byte(p) : '\0';
        }
        if (*p->at == '\0')
            return error_set(p->e, "unterminated $'");
        if (c == '\0')
            return error_set(p->e, "unsupported escape in $' '");
        bytes_append(&p->word, &c, 1);
    }
    p->at++;
    return 0;
}

static int parse_backslash(struct parser *p)
{
    if (p->at[1] == '\0')
        return error_set(p->e, "nothing follows the last \\");
    if (p->at[1] != '\n') /* at the end of a line: nothing */
        bytes_append(&p->word, p->at + 1, 1);
    p->at += 2;
    return 0;
}

static struct pipeline *parse_commands(struct parser *p, bool inside);

/* <( ... ), its closing parenthesis included */
static int parse_substitution(struct parser *p, struct pipeline_word *w)
{
    struct parser inner = {.at = p->at + 2, .a = p->a, .e = p->e};
    w->substitution = parse_commands(&inner, true);
    bytes_free(&inner.word);
    p->at = inner.at;
    return w->substitution ? 0 : -1;
}

static const char *copy_and_clear_word_text(struct parser *p)
{
    const char *text = arena_copy_text_n(p->a, (const char *)p->word.data, p->word.size);
    p->word.size = 0;
    return text;
}

static int parse_word(struct parser *p, struct pipeline_word *w)
{
    int failed = 0;
    p->word.size = 0;
    *w = (struct pipeline_word){0};
    while (!failed && *p->at && !is_space(*p->at) && *p->at != '|' && *p->at != ')') {
        if (*p->at == '\'')
            failed = parse_single_quotes(p);
        else if (*p->at == '"')
            failed = parse_double_quotes(p);
        else if (*p->at == '\\')
            failed = parse_backslash(p);
        else if (p->at[0] == '$' && p->at[1] == '\'')
            failed = parse_escapes(p);
        else if (p->at[0] == '<' && p->at[1] == '(' && w->substitution)
            failed = error_set(p->e, "a word contains two <( ... ), but only one is supported");
        else if (p->at[0] == '<' && p->at[1] == '(') {
            w->text = copy_and_clear_word_text(p);
            failed = parse_substitution(p, w);
        } else if (strchr("$`;&<>(", *p->at))
            failed = set_shell_character_error(p);
        else
            bytes_append(&p->word, p->at++, 1);
    }
    *(w->substitution ? &w->suffix : &w->text) = copy_and_clear_word_text(p);
    return failed;
}

static int parse_command(struct parser *p, struct pipeline_command *c)
{
    for (skip_space(p); *p->at && *p->at != '|' && *p->at != ')'; skip_space(p)) {
        if (parse_word(p, pipeline_add_empty_word(c, p->a)))
            return -1;
    }
    if (c->n == 0)
        return error_set(p->e, "a command is missing before or after a |");
    return 0;
}

/* Parses commands with | between them: all of the text or, `inside` a <( ... ), up to its closing
 * parenthesis and that. */
static struct pipeline *parse_commands(struct parser *p, bool inside)
{
    struct pipeline *pipeline = arena_alloc(p->a, 1, sizeof *pipeline);
    do {
        p->at += pipeline->n > 0; /* the | */
        if (parse_command(p, append_command(pipeline, p->a)))
            return NULL;
    } while (*p->at == '|');
    if ((*p->at == ')') != inside) {
        error_set(p->e, inside ? "unterminated <(" : "unexpected )");
        return NULL;
    }
    p->at += inside;
    return pipeline;
}

struct pipeline *pipeline_parse(const char *text, struct arena *a, struct error *e)
{
    struct parser p = {.at = text, .a = a, .e = e};
    struct pipeline *pipeline = parse_commands(&p, false);
    bytes_free(&p.word);
    return pipeline;
}

/* ---- printing ------------------------------------------------------------------------------- */

/* A word with a <( ... ), on separate lines. */
static void print_substitution(const struct pipeline_word *w, int indent, FILE *f)
{
    fprintf(f, " \\\n%*s", indent, "");
    if (*w->text)
        printable_print_shell_word(f, w->text);
    fputs("<(", f);
    pipeline_print(w->substitution, indent, f);
    putc(')', f);
    if (w->suffix && *w->suffix)
        printable_print_shell_word(f, w->suffix);
}

static void print_command(const struct pipeline_command *c, int indent, FILE *f)
{
    for (size_t i = 0; i < c->n; i++) {
        if (c->words[i].substitution) {
            print_substitution(&c->words[i], indent, f);
            continue;
        }
        if (i)
            putc(' ', f);
        printable_print_shell_word(f, c->words[i].text);
    }
}

void pipeline_print(const struct pipeline *pipeline, int indent, FILE *f)
{
    for (size_t i = 0; i < pipeline->n; i++) {
        if (i)
            fprintf(f, " |\n%*s", indent + 4, "");
        print_command(&pipeline->commands[i], indent + (i ? 8 : 4), f);
    }
}
