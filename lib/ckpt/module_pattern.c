#include "module_pattern.h"

#include "mem.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LENGTH 1000 /* of an expression; time and memory are in proportion */
#define MAX_DEPTH  50   /* of groups */

/* The expression as a program for a set of threads (Thompson 1968, "Regular expression search
 * algorithm"): all threads read one character at a time, and there is at most one at an
 * instruction. */
enum operation { READ, SPLIT, JUMP, AT_START, AT_END };

struct instruction {
    enum operation operation;
    int next, other; /* from this instruction on; SPLIT: both; JUMP: next */
    uint32_t set[8]; /* READ: one of these characters */
};

struct module_pattern {
    size_t n; /* the expression has matched at instruction n */
    struct instruction *code;
};

/* ---- parsing --------------------------------------------------------------------------------- */

struct parser {
    const char *at;
    size_t depth;
    struct module_pattern *p;
};

static struct instruction *append(struct parser *s, enum operation operation)
{
    struct module_pattern *p = s->p;
    p->code = mem_grow(p->code, p->n, sizeof *p->code);
    p->code[p->n] = (struct instruction){.operation = operation, .next = 1};
    return &p->code[p->n++];
}

/* Inserts a SPLIT before the instructions from `start` on, whose targets are relative. */
static void insert_split(struct parser *s, size_t start, int other)
{
    append(s, SPLIT);
    struct instruction *code = s->p->code;
    memmove(code + start + 1, code + start, (s->p->n - 1 - start) * sizeof *code);
    code[start] = (struct instruction){.operation = SPLIT, .next = 1, .other = other};
}

static void add_range(uint32_t *set, unsigned char first, unsigned char last)
{
    for (unsigned c = first; c <= last; c++)
        set[c / 32] |= (uint32_t)1 << c % 32;
}

/* Adds what follows a backslash to the set; -1: it is not supported. */
static int parse_escape(struct parser *s, uint32_t *set)
{
    char c = *s->at;
    if (c == 'd' || c == 'w')
        add_range(set, '0', '9');
    if (c == 'w') {
        add_range(set, 'a', 'z');
        add_range(set, 'A', 'Z');
        add_range(set, '_', '_');
    } else if (c != 'd') {
        if (!c || isalnum((unsigned char)c))
            return -1;
        add_range(set, (unsigned char)c, (unsigned char)c);
    }
    s->at++;
    return 0;
}

/* A class, behind its bracket. */
static int parse_class(struct parser *s)
{
    uint32_t set[8] = {0};
    bool is_negated = *s->at == '^';
    s->at += is_negated;
    for (bool is_first = true; *s->at != ']' || is_first; is_first = false) {
        unsigned char c = (unsigned char)*s->at++;
        if (!c || c == '[')
            return -1;
        if (c == '\\') {
            if (parse_escape(s, set))
                return -1;
        } else if (s->at[0] == '-' && s->at[1] && s->at[1] != ']') {
            unsigned char last = (unsigned char)s->at[1];
            if (last < c || last == '\\')
                return -1;
            add_range(set, c, last);
            s->at += 2;
        } else {
            add_range(set, c, c);
        }
    }
    s->at++;
    struct instruction *i = append(s, READ);
    for (size_t k = 0; k < 8; k++)
        i->set[k] = is_negated ? ~set[k] : set[k];
    return 0;
}

static int parse_alternatives(struct parser *s);

/* A group, behind its parenthesis. */
static int parse_group(struct parser *s)
{
    if (++s->depth > MAX_DEPTH)
        return -1;
    if (s->at[0] == '?') {
        if (s->at[1] != ':')
            return -1;
        s->at += 2;
    }
    if (parse_alternatives(s) || *s->at != ')')
        return -1;
    s->at++;
    s->depth--;
    return 0;
}

static int parse_atom(struct parser *s)
{
    unsigned char c = (unsigned char)*s->at++;
    if (c == '(')
        return parse_group(s);
    if (c == '[')
        return parse_class(s);
    if (c == '^' || c == '$') {
        append(s, c == '^' ? AT_START : AT_END);
        return 0;
    }
    if (strchr("*+?{}", c))
        return -1;
    struct instruction *i = append(s, READ);
    if (c == '\\')
        return parse_escape(s, i->set);
    if (c == '.')
        add_range(i->set, 1, 255);
    else
        add_range(i->set, c, c);
    return 0;
}

/* An atom and how often it is repeated. A '?' after that makes no difference for what matches. */
static int parse_repeated(struct parser *s)
{
    size_t start = s->p->n;
    if (parse_atom(s))
        return -1;
    int length = (int)(s->p->n - start);
    char c = *s->at;
    if (c != '*' && c != '+' && c != '?')
        return 0;
    s->at++;
    if (c == '?') {
        insert_split(s, start, length + 1);
    } else if (c == '*') {
        insert_split(s, start, length + 2);
        append(s, JUMP)->next = -(length + 1);
    } else {
        struct instruction *i = append(s, SPLIT);
        i->other = -length;
    }
    s->at += *s->at == '?';
    return *s->at && strchr("*+?{", *s->at) ? -1 : 0;
}

static int parse_alternatives(struct parser *s)
{
    size_t start = s->p->n;
    while (*s->at && *s->at != '|' && *s->at != ')')
        if (parse_repeated(s))
            return -1;
    if (*s->at != '|')
        return 0;
    s->at++;
    insert_split(s, start, (int)(s->p->n - start) + 2);
    append(s, JUMP);
    size_t jump = s->p->n - 1;
    if (++s->depth > MAX_DEPTH + MAX_LENGTH || parse_alternatives(s))
        return -1;
    s->depth--;
    s->p->code[jump].next = (int)(s->p->n - jump);
    return 0;
}

struct module_pattern *module_pattern_new(const char *expression, const char *what, struct error *e)
{
    struct module_pattern *p = mem_alloc(1, sizeof *p);
    struct parser s = {.at = expression, .p = p};
    if (strlen(expression) <= MAX_LENGTH && parse_alternatives(&s) == 0 && !*s.at)
        return p;
    module_pattern_free(p);
    error_set(e, "%s: the regular expression %.200s is not supported", what, expression);
    return NULL;
}

void module_pattern_free(struct module_pattern *p)
{
    if (!p)
        return;
    free(p->code);
    free(p);
}

/* ---- matching -------------------------------------------------------------------------------- */

/* The instructions at which threads are; `is_in` has each once. */
struct threads {
    size_t n;
    size_t *list;
    bool *is_in;
};

static void push(struct threads *t, size_t at)
{
    if (!t->is_in[at])
        t->list[t->n++] = at;
    t->is_in[at] = true;
}

/* Adds an instruction with all that it leads to without reading. */
static void add_thread(const struct module_pattern *p, struct threads *t, size_t at, bool is_start,
                       bool is_end)
{
    size_t done = t->n;
    push(t, at);
    for (; done < t->n; done++) {
        size_t i = t->list[done];
        if (i == p->n)
            continue;
        const struct instruction *c = &p->code[i];
        if (c->operation == SPLIT)
            push(t, (size_t)((long)i + c->other));
        if (c->operation == SPLIT || c->operation == JUMP ||
            (c->operation == AT_START && is_start) || (c->operation == AT_END && is_end))
            push(t, (size_t)((long)i + c->next));
    }
}

static void clear(struct threads *t)
{
    for (size_t i = 0; i < t->n; i++)
        t->is_in[t->list[i]] = false;
    t->n = 0;
}

bool module_pattern_matches(const struct module_pattern *p, const char *module)
{
    struct threads now = {0, mem_alloc(p->n + 1, sizeof(size_t)), mem_alloc(p->n + 1, 1)};
    struct threads then = {0, mem_alloc(p->n + 1, sizeof(size_t)), mem_alloc(p->n + 1, 1)};
    size_t length = strlen(module);
    for (size_t at = 0; at <= length; at++) {
        if (at == 0 || module[at - 1] == '.')
            add_thread(p, &now, 0, at == 0, at == length);
        if (at == length)
            break;
        unsigned char c = (unsigned char)module[at];
        for (size_t i = 0; i < now.n; i++) {
            size_t from = now.list[i];
            if (from < p->n && p->code[from].operation == READ &&
                p->code[from].set[c / 32] >> c % 32 & 1)
                add_thread(p, &then, from + 1, false, at + 1 == length);
        }
        clear(&now);
        const struct threads swap = now;
        now = then;
        then = swap;
    }
    bool found = now.is_in[p->n];
    free(now.list);
    free(now.is_in);
    free(then.list);
    free(then.is_in);
    return found;
}
