#include "tensor_rules.h"

#include "descriptor_path.h"
#include "line_reader.h"
#include "mem.h"
#include "name_index.h"
#include "glob_pattern.h"
#include "hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS " \t\r\n"

struct tensor_rule {
    char *text;
    char *model, *tensor; /* globs; NULL: any */
    size_t n;
    double *values;   /* one number, or those of a layer gradient */
    bool is_discrete; /* the values are choices, between which nothing is interpolated */
    struct range range;
    size_t previous; /* 1 + the rule before it in its bucket; 0: none */
};

/* ---- one rule ------------------------------------------------------------------------------- */

/* What the parsing functions need: the range, and what a message names: the option, or the line of
 * a file that the option names. */
struct parser {
    const char *option, *file; /* NULL: no file */
    size_t line;
    const struct range *range;
    const char *choices; /* the values that are expected; NULL: numbers */
    struct error *e;
};

static int set_rule_error(const struct parser *p, const char *text, const char *reason)
{
    if (p->file)
        return error_set(p->e, "%s: %.300s, line %zu: \"%.300s\": %s", p->option, p->file, p->line,
                         text, reason);
    return error_set(p->e, "%s: \"%.300s\": %s", p->option, text, reason);
}

int tensor_rules_find_choice(const char *choices, const char *text)
{
    size_t length = strlen(text);
    for (int i = 0; *choices; i++) {
        size_t n = strcspn(choices, "|");
        if (n == length && memcmp(choices, text, n) == 0)
            return i;
        choices += n + (choices[n] == '|');
    }
    return -1;
}

static int parse_choice(const struct tensor_rule *r, const char *text, double *x,
                        const struct parser *p)
{
    char reason[128];
    *x = tensor_rules_find_choice(p->choices, text);
    if (*x >= 0)
        return 0;
    snprintf(reason, sizeof reason, "expected one of %s, or a list of them over the layers",
             p->choices);
    return set_rule_error(p, r->text, reason);
}

static int parse_number(const struct tensor_rule *r, const char *text, double *x,
                        const struct parser *p)
{
    char fraction[32], reason[128] = "expected a number, or a layer gradient like [0.2,0.8]";
    if (number_parse(text, x) == 0)
        return 0;
    if (number_fraction_of_percentage(text, fraction))
        snprintf(reason, sizeof reason, "expected a number; write %s for %.32s", fraction, text);
    return set_rule_error(p, r->text, reason);
}

static int parse_and_append_value(struct tensor_rule *r, const char *text, const struct parser *p)
{
    double x;
    if (p->choices ? parse_choice(r, text, &x, p) : parse_number(r, text, &x, p))
        return -1;
    r->values = mem_grow(r->values, r->n, sizeof *r->values);
    r->values[r->n++] = x;
    return 0;
}

static int check_value_in_range(const struct tensor_rule *r, const struct parser *p)
{
    char range[80], reason[128];
    if (r->n > 1 || range_contains(p->range, r->values[0]))
        return 0;
    snprintf(reason, sizeof reason, "expected a number %s", range_format(p->range, range));
    return set_rule_error(p, r->text, reason);
}

/* "[a,b,...]", with blanks allowed around the numbers. Modifies `text`. */
static int parse_layer_gradient(struct tensor_rule *r, char *text, const struct parser *p)
{
    char *end = text + strlen(text) - 1, *next = text + 1;
    if (end == text || *end != ']')
        return set_rule_error(p, r->text, "expected ] at the end of the layer gradient");
    *end = '\0';
    while (next) {
        char *number = next + strspn(next, BLANKS);
        next = strchr(number, ',');
        if (next)
            *next++ = '\0';
        size_t n = strlen(number);
        while (n > 0 && strchr(BLANKS, number[n - 1]))
            number[--n] = '\0';
        if (parse_and_append_value(r, number, p))
            return -1;
    }
    return 0;
}

/* The first '/' without a backslash before it; NULL if there is none. */
static char *find_unquoted_slash(char *text)
{
    for (; *text && *text != '/'; text++)
        if (*text == '\\' && text[1])
            text++;
    return *text ? text : NULL;
}

/* "MODEL", "MODEL/GLOB" or "/GLOB". Modifies `text`. */
static int parse_model_and_tensor_patterns(struct tensor_rule *r, char *text,
                                           const struct parser *p)
{
    char *slash = find_unquoted_slash(text);
    if (slash)
        *slash = '\0';
    if (slash && !slash[1])
        return set_rule_error(p, r->text, "expected a glob of tensor names after '/'");
    if (!slash && !*text)
        return set_rule_error(p, r->text, "expected MODEL, MODEL/GLOB or /GLOB");
    if (*text && strcmp(text, "*") != 0)
        r->model = mem_copy_text(text);
    if (slash)
        r->tensor = mem_copy_text(slash + 1);
    return 0;
}

static void free_rule_members(struct tensor_rule *r)
{
    free(r->text);
    free(r->model);
    free(r->tensor);
    free(r->values);
}

/* Parses "PATTERNS=VALUE" or "VALUE". Modifies `text`. */
static int parse_rule(struct tensor_rule *r, char *text, const struct parser *p)
{
    char *equals = strrchr(text, '='), *value = equals ? equals + 1 : text;
    if (equals)
        *equals = '\0';
    if (equals && parse_model_and_tensor_patterns(r, text, p))
        return -1;
    return *value == '[' ? parse_layer_gradient(r, value, p) : parse_and_append_value(r, value, p);
}

/* Parses "PATTERNS". Modifies `text`. */
static int parse_selector(struct tensor_rule *r, char *text, const struct parser *p)
{
    return parse_model_and_tensor_patterns(r, text, p) ? -1 : parse_and_append_value(r, "1", p);
}

/* ---- the index ------------------------------------------------------------------------------ */

/* A hash table: a lookup need not try all rules, of which there may be one per model or tensor. A
 * rule is found under the names of its model and tensor; a glob, or none, counts as NULL. */

static bool is_literal(const char *glob)
{
    return glob && !strpbrk(glob, "*?[\\");
}

static size_t find_bucket(const struct tensor_rules *r, const char *model, const char *tensor)
{
    uint64_t hash = model ? XXH3_64bits(model, strlen(model)) : 0;
    hash = tensor ? XXH3_64bits_withSeed(tensor, strlen(tensor), hash) : hash + 1;
    return (size_t)hash & (r->n_buckets - 1);
}

static void add_rule_to_index(struct tensor_rules *r, size_t i)
{
    struct tensor_rule *rule = &r->items[i];
    size_t bucket = find_bucket(r, is_literal(rule->model) ? rule->model : NULL,
                                is_literal(rule->tensor) ? rule->tensor : NULL);
    rule->previous = r->last_in_bucket[bucket];
    r->last_in_bucket[bucket] = i + 1;
}

static void build_index(struct tensor_rules *r)
{
    free(r->last_in_bucket);
    for (r->n_buckets = 16; r->n_buckets < r->n;)
        r->n_buckets *= 2;
    r->last_in_bucket = mem_alloc(r->n_buckets, sizeof *r->last_in_bucket);
    for (size_t i = 0; i < r->n; i++)
        add_rule_to_index(r, i);
}

static void add_last_rule_to_index(struct tensor_rules *r)
{
    if (r->n > r->n_buckets)
        build_index(r);
    else
        add_rule_to_index(r, r->n - 1);
}

/* The buckets that may contain rules for a tensor; their number. */
static size_t list_buckets(const struct tensor_rules *r, const char *model, const char *tensor,
                           size_t buckets[4])
{
    size_t n = 0;
    if (r->n == 0)
        return 0;
    buckets[n++] = find_bucket(r, NULL, NULL);
    buckets[n++] = find_bucket(r, NULL, tensor);
    if (!model)
        return n;
    buckets[n++] = find_bucket(r, model, NULL);
    buckets[n++] = find_bucket(r, model, tensor);
    return n;
}

/* ---- adding rules --------------------------------------------------------------------------- */

/* Adds the rule that `parse` reads from the text. */
static int add_rule(struct tensor_rules *rules, const char *text, const struct parser *p,
                    int (*parse)(struct tensor_rule *, char *, const struct parser *))
{
    struct tensor_rule r = {.text = mem_copy_text(text)};
    char *copy = mem_copy_text(text);
    int failed = parse(&r, copy, p) || check_value_in_range(&r, p);
    r.range = *p->range;
    r.is_discrete = p->choices != NULL;
    free(copy);
    if (!failed && rules->n > 0 && !r.model && !r.tensor)
        failed = set_rule_error(p, text,
                                "this overrides all earlier rules; name a model or tensors, or put "
                                "it first");
    if (failed) {
        free_rule_members(&r);
        return -1;
    }
    rules->items = mem_grow(rules->items, rules->n, sizeof *rules->items);
    rules->items[rules->n++] = r;
    add_last_rule_to_index(rules);
    return 0;
}

/* ---- files ---------------------------------------------------------------------------------- */

/* Removes the blanks at both ends of a line. Modifies it. */
static char *trim_blanks(char *line)
{
    line += strspn(line, BLANKS);
    size_t n = strlen(line);
    while (n > 0 && strchr(BLANKS, line[n - 1]))
        line[--n] = '\0';
    return line;
}

static int add_rule_from_line(struct tensor_rules *r, char *line, const struct parser *p)
{
    char *text = trim_blanks(line);
    if (*text == '@')
        return set_rule_error(p, text, "a file of rules cannot include another file");
    return *text && *text != '#' ? add_rule(r, text, p, parse_rule) : 0;
}

static int add_rules_from_file(struct tensor_rules *r, struct parser *p)
{
    struct line_reader l;
    struct error file_error;
    int more = line_reader_open(&l, p->file, &file_error) ? -1 : 1, failed = 0;
    while (!failed && more > 0 && (more = line_reader_read_line(&l, &file_error)) > 0) {
        p->line = l.line_number;
        failed = add_rule_from_line(r, l.text, p);
    }
    line_reader_close(&l);
    return more < 0 ? error_set(p->e, "%s: %s", p->option, file_error.text) : failed;
}

static int parse_and_add(struct tensor_rules *r, const char *text, struct parser *p)
{
    size_t before = r->n;
    if (*text != '@')
        return add_rule(r, text, p, parse_rule);
    p->file = descriptor_path_to_read(text + 1);
    if (add_rules_from_file(r, p) == 0)
        return 0;
    while (r->n > before)
        free_rule_members(&r->items[--r->n]);
    build_index(r);
    return -1;
}

int tensor_rules_parse_and_add(struct tensor_rules *r, const char *text, const char *what,
                               const struct range *range, struct error *e)
{
    struct parser p = {.option = what, .range = range, .e = e};
    return parse_and_add(r, text, &p);
}

int tensor_rules_add_choice(struct tensor_rules *r, const char *text, const char *what,
                            const char *choices, struct error *e)
{
    const struct range any = {0};
    struct parser p = {.option = what, .range = &any, .choices = choices, .e = e};
    return parse_and_add(r, text, &p);
}

int tensor_rules_add_selector(struct tensor_rules *r, const char *text, const char *what,
                              struct error *e)
{
    const struct range any = {0};
    const struct parser p = {.option = what, .range = &any, .e = e};
    if (*text == '@')
        return set_rule_error(&p, text, "a selection cannot be read from a file");
    return add_rule(r, text, &p, parse_selector);
}

void tensor_rules_free(struct tensor_rules *r)
{
    for (size_t i = 0; i < r->n; i++)
        free_rule_members(&r->items[i]);
    free(r->items);
    free(r->last_in_bucket);
    *r = (struct tensor_rules){0};
}

/* ---- lookup --------------------------------------------------------------------------------- */

/* s */
static double position_in_gradient(size_t n, long layer, long layers)
{
    double t = layer < 0 ? 0 : layers > 1 ? (double)layer / (double)(layers - 1) : 1;
    return t * (double)(n - 1);
}

double tensor_rules_interpolate_gradient(size_t n, const double *values, long layer, long layers)
{
    double s = position_in_gradient(n, layer, layers);
    size_t i = (size_t)s, j = i + 1 < n ? i + 1 : n - 1;
    double f = s - (double)i;
    return (1 - f) * values[i] + f * values[j];
}

static bool rule_matches_model(const struct tensor_rule *r, const char *model)
{
    return !r->model ||
           (model && (strcmp(r->model, model) == 0 || glob_pattern_matches(r->model, model)));
}

bool tensor_rules_has_tensor_pattern(const struct tensor_rules *r, size_t i)
{
    return r->items[i].tensor != NULL;
}

static bool rule_matches(const struct tensor_rule *rule, const char *model, const char *tensor)
{
    return rule_matches_model(rule, model) &&
           (!rule->tensor || glob_pattern_matches(rule->tensor, tensor));
}

void tensor_rules_mark_matches(const struct tensor_rules *r, const char *model, const char *tensor,
                               bool *matches)
{
    size_t buckets[4], n = list_buckets(r, model, tensor, buckets);
    for (size_t b = 0; b < n; b++)
        for (size_t i = r->last_in_bucket[buckets[b]]; i; i = r->items[i - 1].previous)
            matches[i - 1] = matches[i - 1] || rule_matches(&r->items[i - 1], model, tensor);
}

/* The last rule that matches; NULL if none does. */
static const struct tensor_rule *find_last_match(const struct tensor_rules *r, const char *model,
                                                 const char *tensor)
{
    size_t buckets[4], n = list_buckets(r, model, tensor, buckets), found = 0;
    for (size_t b = 0; b < n; b++) {
        size_t i = r->last_in_bucket[buckets[b]];
        while (i > found && !rule_matches(&r->items[i - 1], model, tensor))
            i = r->items[i - 1].previous;
        found = i > found ? i : found;
    }
    return found ? &r->items[found - 1] : NULL;
}

bool tensor_rules_find_value(const struct tensor_rules *r, const char *model, const char *tensor,
                             long layer, long layers, double *value)
{
    const struct tensor_rule *rule = find_last_match(r, model, tensor);
    if (rule && rule->is_discrete)
        *value = rule->values[(size_t)position_in_gradient(rule->n, layer, layers)];
    else if (rule)
        *value = range_clamp(
            &rule->range, tensor_rules_interpolate_gradient(rule->n, rule->values, layer, layers));
    return rule != NULL;
}

bool tensor_rules_contain_value(const struct tensor_rules *r, double value)
{
    for (size_t i = 0; i < r->n; i++)
        for (size_t j = 0; j < r->items[i].n; j++)
            if (r->items[i].values[j] == value)
                return true;
    return false;
}

static bool rule_matches_any_model(const struct tensor_rule *rule, size_t n,
                                   const char *const *models, const struct name_index *index)
{
    if (!rule->model || is_literal(rule->model))
        return !rule->model || name_index_find(index, rule->model) >= 0;
    for (size_t m = 0; m < n; m++)
        if (rule_matches_model(rule, models[m]))
            return true;
    return false;
}

const char *tensor_rules_find_unknown_model(const struct tensor_rules *r, size_t n,
                                            const char *const *models)
{
    struct name_index index = {0};
    struct arena a = {0};
    const char *unknown = NULL;
    for (size_t m = 0; m < n; m++)
        name_index_add(&index, models[m], m, &a);
    for (size_t i = 0; i < r->n && !unknown; i++)
        if (!rule_matches_any_model(&r->items[i], n, models, &index))
            unknown = r->items[i].text;
    arena_free(&a);
    return unknown;
}

size_t tensor_rules_count(const struct tensor_rules *r)
{
    return r->n;
}

const char *tensor_rules_rule_text(const struct tensor_rules *r, size_t i)
{
    return r->items[i].text;
}
