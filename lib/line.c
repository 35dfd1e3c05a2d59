#include "line.h"

#include "record.h"

#include <string.h>

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

static void skip_space(struct parser *p)
{
    while (is_space(*p->at))
        p->at++;
}

static int unexpanded(struct parser *p)
{
    return error_set(p->e, "%c is not expanded here as the shell would; quote it with ' '",
                     *p->at);
}

/* '...': everything as it is */
static int single_quoted(struct parser *p)
{
    const char *end = strchr(++p->at, '\'');
    if (!end)
        return error_set(p->e, "a ' is not closed");
    bytes_add(&p->word, p->at, (size_t)(end - p->at));
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
        bytes_add(&p->word, p->at, 1);
    }
    p->at++;
    return 0;
}

static int escaped(struct parser *p)
{
    if (p->at[1] == '\0')
        return error_set(p->e, "a \\ stands at the end");
    if (p->at[1] != '\n') /* a broken line goes on */
        bytes_add(&p->word, p->at + 1, 1);
    p->at += 2;
    return 0;
}

static struct line *parse_line(struct parser *p, bool inside);

/* <( LINE ) up to its closing parenthesis */
static int substitution(struct parser *p, struct word *w)
{
    struct parser inner = {.at = p->at + 2, .a = p->a, .e = p->e};
    w->inner = parse_line(&inner, true);
    bytes_free(&inner.word);
    p->at = inner.at;
    if (!w->inner)
        return -1;
    if (*p->at && !is_space(*p->at) && !strchr("|)", *p->at))
        return error_set(p->e, "a <( ... ) must end its word");
    return 0;
}

static int parse_word(struct parser *p, struct word *w)
{
    int failed = 0;
    p->word.size = 0;
    w->inner = NULL;
    while (!failed && !w->inner && *p->at && !is_space(*p->at) && *p->at != '|' && *p->at != ')') {
        if (*p->at == '\'')
            failed = single_quoted(p);
        else if (*p->at == '"')
            failed = double_quoted(p);
        else if (*p->at == '\\')
            failed = escaped(p);
        else if (p->at[0] == '<' && p->at[1] == '(')
            failed = substitution(p, w);
        else if (strchr("$`;&<>(", *p->at))
            failed = unexpanded(p);
        else
            bytes_add(&p->word, p->at++, 1);
    }
    w->text = arena_text(p->a, (const char *)p->word.data, p->word.size);
    return failed;
}

static int parse_command(struct parser *p, struct command *c)
{
    for (skip_space(p); *p->at && *p->at != '|' && *p->at != ')'; skip_space(p)) {
        struct word *words = arena_alloc(p->a, c->n + 1, sizeof *words);
        if (c->n)
            memcpy(words, c->words, c->n * sizeof *words);
        c->words = words;
        if (parse_word(p, &words[c->n++]))
            return -1;
    }
    if (c->n == 0)
        return error_set(p->e, "a command is missing beside a |");
    return 0;
}

/* `inside`: up to the parenthesis that closes a <( ... ), which is taken. */
static struct line *parse_line(struct parser *p, bool inside)
{
    struct line *l = arena_alloc(p->a, 1, sizeof *l);
    do {
        struct command *commands = arena_alloc(p->a, l->n + 1, sizeof *commands);
        if (l->n) {
            memcpy(commands, l->commands, l->n * sizeof *commands);
            p->at++; /* the | */
        }
        l->commands = commands;
        if (parse_command(p, &commands[l->n++]))
            return NULL;
    } while (*p->at == '|');
    if ((*p->at == ')') != inside) {
        error_set(p->e, inside ? "a <( is not closed" : "a ) stands alone");
        return NULL;
    }
    p->at += inside;
    return l;
}

struct line *line_parse(const char *text, struct arena *a, struct error *e)
{
    struct parser p = {.at = text, .a = a, .e = e};
    struct line *l = parse_line(&p, false);
    bytes_free(&p.word);
    return l;
}
