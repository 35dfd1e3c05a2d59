#include "module_pattern.h"

#include "mem.h"

#include <ctype.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

/* regcomp needs memory and stack in proportion to the length and the nesting. */
#define MAX_LENGTH 1000
#define MAX_DEPTH  20

struct module_pattern {
    char *name; /* an expression without operators but '.'; NULL: it has others */
    regex_t regex;
};

static bool is_plain_name(const char *expression)
{
    for (const char *c = expression; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
            return false;
    return *expression != '\0';
}

/* ---- translation ----------------------------------------------------------------------------- */

struct translation {
    const char *from;
    char *to;
    size_t depth;
    bool in_class;
};

static void append(struct translation *t, const char *text)
{
    t->to = stpcpy(t->to, text);
}

/* The escape at t->from, a backslash. False: it is not supported. */
static bool translate_escape(struct translation *t)
{
    char c = *++t->from;
    if (c == 'd' || c == 'w') {
        const char *set = c == 'd' ? "0-9" : "A-Za-z0-9_";
        append(t, t->in_class ? "" : "[");
        append(t, set);
        append(t, t->in_class ? "" : "]");
    } else if (!c || isalnum((unsigned char)c) || (t->in_class && strchr("]^-\\", c))) {
        return false;
    } else {
        append(t, t->in_class ? "" : "\\");
        *t->to++ = c;
    }
    t->from++;
    return true;
}

static bool translate_character(struct translation *t)
{
    char c = *t->from;
    if (c == '\\')
        return translate_escape(t);
    if (t->in_class) {
        t->in_class = c != ']';
        if (c == '[') /* [[:alpha:]] is another thing in Python */
            return false;
    } else if (c == '[') {
        t->in_class = true;
    } else if (c == '(' && ++t->depth > MAX_DEPTH) {
        return false;
    } else if (c == '{') {
        return false;
    }
    if (c == '(' && !t->in_class && t->from[1] == '?') {
        if (t->from[2] != ':')
            return false;
        t->from += 2;
    }
    *t->to++ = c;
    t->from++;
    return true;
}

/* The POSIX expression for the whole name; the caller frees. NULL: something is not supported. */
static char *translate(const char *expression)
{
    char *posix = mem_alloc(12 * strlen(expression) + 20, 1);
    struct translation t = {.from = expression, .to = posix};
    append(&t, "^(.*\\.)?(");
    bool valid = strlen(expression) <= MAX_LENGTH;
    while (valid && *t.from)
        valid = translate_character(&t);
    append(&t, ")$");
    if (valid)
        return posix;
    free(posix);
    return NULL;
}

/* ---- matching -------------------------------------------------------------------------------- */

struct module_pattern *module_pattern_new(const char *expression, const char *what, struct error *e)
{
    struct module_pattern *p = mem_alloc(1, sizeof *p);
    if (is_plain_name(expression)) {
        p->name = mem_copy_text(expression);
        return p;
    }
    char *posix = translate(expression);
    bool compiled = posix && regcomp(&p->regex, posix, REG_EXTENDED | REG_NOSUB) == 0;
    free(posix);
    if (compiled)
        return p;
    free(p);
    error_set(e, "%s: the regular expression %.200s is not supported", what, expression);
    return NULL;
}

/* Is the pattern the end of the module's name, from the start of a component on? */
static bool matches_name(const char *pattern, const char *module)
{
    size_t length = strlen(pattern), all = strlen(module);
    if (length > all || (length < all && module[all - length - 1] != '.'))
        return false;
    const char *end = module + all - length;
    for (size_t i = 0; i < length; i++)
        if (pattern[i] != '.' && pattern[i] != end[i])
            return false;
    return true;
}

bool module_pattern_matches(const struct module_pattern *p, const char *module)
{
    return p->name ? matches_name(p->name, module) : regexec(&p->regex, module, 0, NULL, 0) == 0;
}

void module_pattern_free(struct module_pattern *p)
{
    if (!p)
        return;
    if (!p->name)
        regfree(&p->regex);
    free(p->name);
    free(p);
}
