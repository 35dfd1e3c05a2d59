#include "rules.h"

#include "mem.h"

#include <errno.h>
#include <fnmatch.h>
#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS " \t\r\n"

struct rule {
    char *text;
    char *model, *tensor; /* globs; NULL: any */
    size_t n;
    double *values; /* one, or a ramp */
};

/* ---- numbers -------------------------------------------------------------------------------- */

static size_t digits(const char *text)
{
    return strspn(text, "0123456789");
}

/* Length of a decimal number at the start of text; 0 if there is none. No hexadecimal, infinity
 * or NaN, which strtod would take. */
static size_t number_length(const char *text)
{
    const char *p = text + strspn(text, "+-");
    if (p - text > 1)
        return 0;
    size_t whole = digits(p), fraction = p[whole] == '.' ? digits(p + whole + 1) : 0;
    if (whole + fraction == 0)
        return 0;
    p += whole + (p[whole] == '.') + fraction;
    if (*p == 'e' || *p == 'E') {
        const char *exponent = p + 1 + (p[1] == '+' || p[1] == '-');
        if (digits(exponent))
            p = exponent + digits(exponent);
    }
    return (size_t)(p - text);
}

static double read_number(const char *text)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = uselocale(c);
    double x = strtod(text, NULL);
    uselocale(before);
    freelocale(c);
    return x;
}

int rules_number(const char *text, double *x)
{
    size_t n = number_length(text);
    if (n == 0 || text[n] != '\0')
        return -1;
    *x = read_number(text);
    return isfinite(*x) ? 0 : -1;
}

/* "(0, 1]", with numbers as they read best whatever the locale. */
static void print_number(double x, char *text, size_t size)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = uselocale(c);
    snprintf(text, size, "%.6g", x);
    uselocale(before);
    freelocale(c);
}

const char *range_text(const struct range *range, char *text)
{
    char low[32], high[32];
    print_number(range->low, low, sizeof low);
    print_number(range->high, high, sizeof high);
    snprintf(text, 80, "in %c%s, %s%c", range->low_open ? '(' : '[', low, high,
             range->high_open ? ')' : ']');
    return text;
}

bool range_holds(const struct range *range, double x)
{
    return (range->low_open ? x > range->low : x >= range->low) &&
           (range->high_open ? x < range->high : x <= range->high);
}

/* ---- globs ---------------------------------------------------------------------------------- */

bool rules_glob(const char *pattern, const char *text)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = uselocale(c);
    bool matches = fnmatch(pattern, text, 0) == 0;
    uselocale(before);
    freelocale(c);
    return matches;
}

/* ---- one rule ------------------------------------------------------------------------------- */

/* Where a message is about: an option's argument, or a line of a file that it names. */
struct place {
    const char *what, *file;
    size_t line;
    const struct range *range;
    struct error *e;
};

/* Always -1. `wrong` is what was expected, or what is wrong with the text. */
static int refuse(const struct place *p, const char *text, const char *wrong)
{
    if (p->file)
        return error_set(p->e, "%s: %.300s, line %zu: \"%.300s\": %s", p->what, p->file, p->line,
                         text, wrong);
    return error_set(p->e, "%s: \"%.300s\": %s", p->what, text, wrong);
}

static int add_value(struct rule *r, const char *number, const struct place *p)
{
    double x;
    char range[80], wrong[128];
    if (rules_number(number, &x))
        return refuse(p, r->text, "expected a number or a ramp of numbers like [0.2,0.8]");
    bool bounded = p->range->low != 0 || p->range->high != 0;
    if (bounded && !range_holds(p->range, x)) {
        snprintf(wrong, sizeof wrong, "expected numbers %s", range_text(p->range, range));
        return refuse(p, r->text, wrong);
    }
    r->values = mem_resize(r->values, r->n + 1, sizeof *r->values);
    r->values[r->n++] = x;
    return 0;
}

/* "[a,b,...]": blanks around the numbers are allowed. Changes `text`. */
static int add_ramp(struct rule *r, char *text, const struct place *p)
{
    char *end = text + strlen(text) - 1, *next = text + 1;
    if (end == text || *end != ']')
        return refuse(p, r->text, "the ramp lacks its closing bracket");
    *end = '\0';
    while (next) {
        char *number = next + strspn(next, BLANKS);
        next = strchr(number, ',');
        if (next)
            *next++ = '\0';
        size_t n = strlen(number);
        while (n > 0 && strchr(BLANKS, number[n - 1]))
            number[--n] = '\0';
        if (add_value(r, number, p))
            return -1;
    }
    return 0;
}

/* The first '/' that no backslash quotes; NULL if there is none. */
static char *find_slash(char *text)
{
    for (; *text && *text != '/'; text++)
        if (*text == '\\' && text[1])
            text++;
    return *text ? text : NULL;
}

/* "MODEL", "MODEL/GLOB" or "/GLOB". Changes `text`. */
static int set_patterns(struct rule *r, char *text, const struct place *p)
{
    char *slash = find_slash(text);
    if (slash)
        *slash = '\0';
    if (slash && !slash[1])
        return refuse(p, r->text, "expected a pattern of tensor names between '/' and '='");
    if (!slash && !*text)
        return refuse(p, r->text, "expected a model or /PATTERN before '='");
    if (*text && strcmp(text, "*") != 0)
        r->model = mem_text(text);
    if (slash)
        r->tensor = mem_text(slash + 1);
    return 0;
}

static void rule_clear(struct rule *r)
{
    free(r->text);
    free(r->model);
    free(r->tensor);
    free(r->values);
}

static int parse_copy(struct rule *r, char *text, const struct place *p)
{
    char *equals = strrchr(text, '='), *value = equals ? equals + 1 : text;
    if (equals)
        *equals = '\0';
    if (equals && set_patterns(r, text, p))
        return -1;
    return *value == '[' ? add_ramp(r, value, p) : add_value(r, value, p);
}

static int add_rule(struct rules *rules, const char *text, const struct place *p)
{
    struct rule r = {.text = mem_text(text)};
    char *copy = mem_text(text);
    int failed = parse_copy(&r, copy, p);
    free(copy);
    if (failed) {
        rule_clear(&r);
        return -1;
    }
    rules->rules = mem_resize(rules->rules, rules->n + 1, sizeof *rules->rules);
    rules->rules[rules->n++] = r;
    return 0;
}

/* ---- files ---------------------------------------------------------------------------------- */

/* Drops the blanks around a line. */
static char *trimmed(char *line)
{
    line += strspn(line, BLANKS);
    size_t n = strlen(line);
    while (n > 0 && strchr(BLANKS, line[n - 1]))
        line[--n] = '\0';
    return line;
}

static int add_lines(struct rules *r, FILE *f, struct place *p)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    int failed = 0;
    while (!failed && (n = getline(&line, &room, f)) >= 0) {
        p->line++;
        bool has_zero = strlen(line) < (size_t)n;
        char *text = trimmed(line);
        if (has_zero)
            failed = refuse(p, text, "a line of text has no zero byte");
        else if (*text == '@')
            failed = refuse(p, text, "a file of rules cannot name another one");
        else if (*text && *text != '#')
            failed = add_rule(r, text, p);
    }
    free(line);
    if (!failed && ferror(f))
        failed = error_set(p->e, "%s: cannot read %.300s: %s", p->what, p->file, strerror(errno));
    return failed;
}

static int add_file(struct rules *r, struct place *p)
{
    FILE *f = fopen(p->file, "re");
    if (!f)
        return error_set(p->e, "%s: cannot open %.300s: %s", p->what, p->file, strerror(errno));
    int failed = add_lines(r, f, p);
    fclose(f);
    return failed;
}

int rules_add(struct rules *r, const char *text, const char *what, const struct range *range,
              struct error *e)
{
    size_t before = r->n;
    struct place p = {.what = what, .range = range, .e = e};
    if (*text != '@')
        return add_rule(r, text, &p);
    p.file = text + 1;
    if (add_file(r, &p) == 0)
        return 0;
    while (r->n > before)
        rule_clear(&r->rules[--r->n]);
    return -1;
}

void rules_free(struct rules *r)
{
    for (size_t i = 0; i < r->n; i++)
        rule_clear(&r->rules[i]);
    free(r->rules);
    *r = (struct rules){0};
}

/* ---- looking up ----------------------------------------------------------------------------- */

double rules_ramp(size_t n, const double *values, long layer, long layers)
{
    double t = layer < 0 ? 0 : layers > 1 ? (double)layer / (double)(layers - 1) : 1;
    double s = t * (double)(n - 1);
    size_t i = (size_t)s, j = i + 1 < n ? i + 1 : n - 1;
    double f = s - (double)i;
    return (1 - f) * values[i] + f * values[j];
}

static bool names_model(const struct rule *r, const char *model)
{
    return !r->model || (model && (strcmp(r->model, model) == 0 || rules_glob(r->model, model)));
}

bool rules_value(const struct rules *r, const char *model, const char *tensor, long layer,
                 long layers, double *value)
{
    for (size_t i = r->n; i-- > 0;) {
        const struct rule *rule = &r->rules[i];
        if (!names_model(rule, model) || (rule->tensor && !rules_glob(rule->tensor, tensor)))
            continue;
        *value = rules_ramp(rule->n, rule->values, layer, layers);
        return true;
    }
    return false;
}

const char *rules_unmatched(const struct rules *r, size_t n, const char *const *models)
{
    for (size_t i = 0; i < r->n; i++) {
        bool found = !r->rules[i].model;
        for (size_t m = 0; !found && m < n; m++)
            found = names_model(&r->rules[i], models[m]);
        if (!found)
            return r->rules[i].text;
    }
    return NULL;
}

size_t rules_count(const struct rules *r)
{
    return r->n;
}

const char *rules_text(const struct rules *r, size_t i)
{
    return r->rules[i].text;
}
