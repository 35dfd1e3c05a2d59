#include "pipeline.h"

#include <string.h>

struct pipeline_word *pipeline_add_empty_word(struct pipeline_command *c, struct arena *a)
{
    struct pipeline_word *words = arena_alloc(a, c->n + 1, sizeof *words);
    if (c->n)
        memcpy(words, c->words, c->n * sizeof *words);
    c->words = words;
    return &words[c->n++];
}

void pipeline_add_word(struct pipeline_command *c, const char *text, struct arena *a)
{
    pipeline_add_empty_word(c, a)->text = text;
}

static struct pipeline_command *new_command(struct pipeline *l, struct arena *a)
{
    struct pipeline_command *commands = arena_alloc(a, l->n + 1, sizeof *commands);
    if (l->n)
        memcpy(commands, l->commands, l->n * sizeof *commands);
    l->commands = commands;
    return &commands[l->n++];
}

struct pipeline_command *pipeline_add_command(struct pipeline *l, const char *name, struct arena *a)
{
    struct pipeline_command *c = new_command(l, a);
    pipeline_add_word(c, name, a);
    return c;
}

/* ---- reading -------------------------------------------------------------------------------- */

struct parser {
    const char *at;
    struct arena *a;
    struct error *e;
    struct bytes word; /* the one at hand */
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

/* A backslash before the end of a line is space too. */
static void skip_space(struct parser *p)
{
    while (is_space(*p->at) || (p->at[0] == '\\' && p->at[1] == '\n'))
        p->at += *p->at == '\\' ? 2 : 1;
}

static int unexpanded(struct parser *p)
{
    if (strchr("<>&;", *p->at))
        return error_set(p->e, "%c is the shell's: it belongs outside the quotes of tv run's line",
                         *p->at);
    return error_set(p->e, "%c is not expanded here as the shell would; quote it with ' '", *p->at);
}

/* '...': everything as it is */
static int single_quoted(struct parser *p)
{
    const char *end = strchr(++p->at, '\'');
    if (!end)
        return error_set(p->e, "a ' is not closed");
    bytes_append(&p->word, p->at, (size_t)(end - p->at));
    p->at = end + 1;
    return 0;
}

/* "...": a backslash before one of " \ $ ` takes away its meaning */
static int double_quoted(struct parser *p)
{
    for (p->at++; *p->at != '"'; p->at++) {
        if (*p->at == '\0')
            return error_set(p->e, "a \" is not closed");
        if (*p->at == '$' || *p->at == '`')
            return unexpanded(p);
        if (*p->at == '\\' && p->at[1] && strchr("\"\\$`\n", p->at[1]))
            p->at++;
        bytes_append(&p->word, p->at, 1);
    }
    p->at++;
    return 0;
}

static int escaped(struct parser *p)
{
    if (p->at[1] == '\0')
        return error_set(p->e, "a \\ stands at the end");
    if (p->at[1] != '\n') /* a broken line goes on */
        bytes_append(&p->word, p->at + 1, 1);
    p->at += 2;
    return 0;
}

static struct pipeline *parse_line(struct parser *p, bool inside);

/* <( LINE ) up to its closing parenthesis */
static int substitution(struct parser *p, struct pipeline_word *w)
{
    struct parser inner = {.at = p->at + 2, .a = p->a, .e = p->e};
    w->substitution = parse_line(&inner, true);
    bytes_free(&inner.word);
    p->at = inner.at;
    return w->substitution ? 0 : -1;
}

static const char *word_so_far(struct parser *p)
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
            failed = single_quoted(p);
        else if (*p->at == '"')
            failed = double_quoted(p);
        else if (*p->at == '\\')
            failed = escaped(p);
        else if (p->at[0] == '<' && p->at[1] == '(' && w->substitution)
            failed = error_set(p->e, "a word has two <( ... ) in it");
        else if (p->at[0] == '<' && p->at[1] == '(') {
            w->text = word_so_far(p);
            failed = substitution(p, w);
        } else if (strchr("$`;&<>(", *p->at))
            failed = unexpanded(p);
        else
            bytes_append(&p->word, p->at++, 1);
    }
    *(w->substitution ? &w->suffix : &w->text) = word_so_far(p);
    return failed;
}

static int parse_command(struct parser *p, struct pipeline_command *c)
{
    for (skip_space(p); *p->at && *p->at != '|' && *p->at != ')'; skip_space(p)) {
        if (parse_word(p, pipeline_add_empty_word(c, p->a)))
            return -1;
    }
    if (c->n == 0)
        return error_set(p->e, "a command is missing beside a |");
    return 0;
}

/* `inside`: up to the parenthesis that closes a <( ... ), which is taken. */
static struct pipeline *parse_line(struct parser *p, bool inside)
{
    struct pipeline *l = arena_alloc(p->a, 1, sizeof *l);
    do {
        p->at += l->n > 0; /* the | */
        if (parse_command(p, new_command(l, p->a)))
            return NULL;
    } while (*p->at == '|');
    if ((*p->at == ')') != inside) {
        error_set(p->e, inside ? "a <( is not closed" : "a ) stands alone");
        return NULL;
    }
    p->at += inside;
    return l;
}

struct pipeline *pipeline_parse(const char *text, struct arena *a, struct error *e)
{
    struct parser p = {.at = text, .a = a, .e = e};
    struct pipeline *l = parse_line(&p, false);
    bytes_free(&p.word);
    return l;
}

/* ---- printing ------------------------------------------------------------------------------- */

/* Quoted with ' ' unless every character is plain to the shell. */
static void print_text(const char *text, FILE *f)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                "_./:=,+@%-";
    if (*text && text[strspn(text, plain)] == '\0') {
        fputs(text, f);
        return;
    }
    putc('\'', f);
    for (; *text; text++)
        *text == '\'' ? (void)fputs("'\\''", f) : (void)putc(*text, f);
    putc('\'', f);
}

/* A <( ... ) on lines of its own. */
static void print_inner(const struct pipeline_word *w, int indent, FILE *f)
{
    fprintf(f, " \\\n%*s", indent, "");
    if (*w->text)
        print_text(w->text, f);
    fputs("<(", f);
    pipeline_print(w->substitution, indent, f);
    putc(')', f);
    if (w->suffix && *w->suffix)
        print_text(w->suffix, f);
}

static void print_command(const struct pipeline_command *c, int indent, FILE *f)
{
    for (size_t i = 0; i < c->n; i++) {
        if (c->words[i].substitution) {
            print_inner(&c->words[i], indent, f);
            continue;
        }
        if (i)
            putc(' ', f);
        print_text(c->words[i].text, f);
    }
}

void pipeline_print(const struct pipeline *l, int indent, FILE *f)
{
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            fprintf(f, " |\n%*s", indent + 4, "");
        print_command(&l->commands[i], indent + (i ? 8 : 4), f);
    }
}
