#include "yaml_tree.h"

#include "suggest.h"
#include "number.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define KEYS_MAX  256     /* of one map */
#define NODES_MAX 1000000 /* visited, aliases followed: what a few lines can grow to */

size_t yaml_tree_line(const yaml_node_t *node)
{
    return node->start_mark.line + 1;
}

int yaml_tree_error(const struct yaml_tree *t, const yaml_node_t *node, const char *format, ...)
{
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_set(t->e, "%.200s, line %zu: %s", t->path, yaml_tree_line(node), text);
}

void yaml_tree_warn(const char *tool, const char *path, size_t line, const char *sentence)
{
    struct error text;
    error_set(&text, "%s: warning: %.200s, line %zu: %s", tool, path, line, sentence);
    fprintf(stderr, "%s\n", text.text);
}

/* ---- scalars -------------------------------------------------------------------------------- */

/* YAML 1.1 gives plain words a meaning that quoted ones have not. */
static bool is_plain(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

const char *yaml_tree_scalar_text(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

/* Is the text one of these words: as it stands, with a capital, or in capitals? */
static bool is_word(const char *text, const char *const *words)
{
    for (; *words; words++) {
        size_t n = strlen(*words), upper = 0;
        if (strlen(text) != n || strcasecmp(text, *words) != 0)
            continue;
        for (size_t i = 0; i < n; i++)
            upper += isupper((unsigned char)text[i]) != 0;
        if (upper == 0 || upper == n || (upper == 1 && isupper((unsigned char)text[0])))
            return true;
    }
    return false;
}

bool yaml_tree_is_null(const yaml_node_t *node)
{
    static const char *const null[] = {"null", NULL};
    return is_plain(node) &&
           (!*yaml_tree_scalar_text(node) || strcmp(yaml_tree_scalar_text(node), "~") == 0 ||
            is_word(yaml_tree_scalar_text(node), null));
}

/* Digits of base 2, 8 or 16 with '_' between them. */
static bool read_based(const char *text, int base, double *x)
{
    *x = 0;
    for (; *text; text++) {
        const char *found = strchr("0123456789abcdef", tolower((unsigned char)*text));
        long digit = found && *found ? found - "0123456789abcdef" : 99;
        if (*text == '_')
            continue;
        if (digit >= base)
            return false;
        *x = *x * base + (double)digit;
    }
    return true;
}

/* 1:30 is 90 in YAML 1.1. */
static bool read_sexagesimal(const char *text, double *x)
{
    char part[32];
    double value;
    *x = 0;
    for (bool first = true; *text; first = false) {
        size_t n = strcspn(text, ":");
        if (n == 0 || n >= sizeof part || (!first && n > 2 && text[2] != '.'))
            return false;
        memcpy(part, text, n);
        part[n] = '\0';
        if (!isdigit((unsigned char)*part) || number_parse(part, &value) || (!first && value >= 60))
            return false;
        *x = *x * 60 + value;
        text += n + (text[n] == ':');
    }
    return true;
}

/* What only plain words mean: booleans count as 1 and 0. */
static bool read_plain(const char *text, double *x)
{
    static const char *const yes[] = {"yes", "true", "on", NULL};
    static const char *const no[] = {"no", "false", "off", NULL};
    if (is_word(text, yes) || is_word(text, no)) {
        *x = is_word(text, yes);
        return true;
    }
    double sign = *text == '-' ? -1 : 1;
    bool found = false;
    text += *text == '-' || *text == '+';
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'b') && text[2])
        found = read_based(text + 2, text[1] == 'x' ? 16 : 2, x);
    else if (text[0] == '0' && text[1] && strspn(text, "01234567_") == strlen(text))
        found = read_based(text + 1, 8, x);
    else if (strchr(text, ':'))
        found = read_sexagesimal(text, x);
    *x *= sign;
    return found;
}

/* A decimal number as Python's float() takes it: blanks around it, '_' between digits. */
static bool read_decimal(const char *text, double *x)
{
    char plain[64];
    size_t n = 0;
    while (isspace((unsigned char)*text))
        text++;
    for (; *text && n < sizeof plain - 1; text++) {
        bool between = n && isdigit((unsigned char)plain[n - 1]) && isdigit((unsigned char)text[1]);
        if (*text != '_' || !between)
            plain[n++] = *text;
    }
    while (n && isspace((unsigned char)plain[n - 1]))
        n--;
    plain[n] = '\0';
    return !*text && number_parse(plain, x) == 0;
}

int yaml_tree_read_number(const struct yaml_tree *t, const yaml_node_t *node, const char *what,
                          double *x)
{
    if (node->type != YAML_SCALAR_NODE || yaml_tree_is_null(node))
        return yaml_tree_error(t, node, "%s has no number", what);
    if ((is_plain(node) && read_plain(yaml_tree_scalar_text(node), x)) ||
        read_decimal(yaml_tree_scalar_text(node), x))
        return 0;
    return yaml_tree_error(t, node, "%s: \"%.100s\" is not a number", what,
                           yaml_tree_scalar_text(node));
}

int yaml_tree_read_string(const struct yaml_tree *t, const yaml_node_t *node, const char *what,
                          const char **text)
{
    if (yaml_tree_is_null(node))
        return 0;
    if (node->type != YAML_SCALAR_NODE)
        return yaml_tree_error(t, node, "%s must be a text", what);
    if (strlen(yaml_tree_scalar_text(node)) != node->data.scalar.length)
        return yaml_tree_error(t, node, "%s has a zero byte in it", what);
    *text = arena_copy_text_n(t->a, yaml_tree_scalar_text(node), node->data.scalar.length);
    return 0;
}

/* ---- maps and lists ------------------------------------------------------------------------- */

yaml_node_t *yaml_tree_node(const struct yaml_tree *t, int index)
{
    return yaml_document_get_node(t->doc, index);
}

/* Counts the visits to nodes, for an alias may stand in what another one repeats, and refuses
 * tags of a program's own. */
int yaml_tree_validate(struct yaml_tree *t, const yaml_node_t *node, int depth)
{
    static const char standard[] = "tag:yaml.org,2002:";
    if (depth > YAML_TREE_MAX_DEPTH)
        return yaml_tree_error(t, node, "lists and maps are nested too deep");
    if (++t->visited > NODES_MAX)
        return yaml_tree_error(t, node, "the aliases repeat too much");
    if (node->tag && strncmp((const char *)node->tag, standard, sizeof standard - 1) != 0)
        return yaml_tree_error(t, node, "the tag %.60s has no meaning here", node->tag);
    if (node->type == YAML_SEQUENCE_NODE)
        for (yaml_node_item_t *i = node->data.sequence.items.start;
             i < node->data.sequence.items.top; i++)
            if (yaml_tree_validate(t, yaml_tree_node(t, *i), depth + 1))
                return -1;
    if (node->type != YAML_MAPPING_NODE)
        return 0;
    yaml_node_pair_t *start = node->data.mapping.pairs.start, *top = node->data.mapping.pairs.top;
    if (top - start > KEYS_MAX)
        return yaml_tree_error(t, node, "a map has more than %d keys", KEYS_MAX);
    for (yaml_node_pair_t *p = start; p < top; p++)
        if (yaml_tree_validate(t, yaml_tree_node(t, p->key), depth + 1) ||
            yaml_tree_validate(t, yaml_tree_node(t, p->value), depth + 1))
            return -1;
    return 0;
}

bool yaml_tree_is_merge_key(const yaml_node_t *key)
{
    return is_plain(key) && strcmp(yaml_tree_scalar_text(key), "<<") == 0;
}

/* The value of a key: of several the last one, then those of a << that the map holds. */
const yaml_node_t *yaml_tree_find_key(const struct yaml_tree *t, const yaml_node_t *map,
                                      const char *key)
{
    const yaml_node_t *found = NULL;
    yaml_node_pair_t *start = map->data.mapping.pairs.start;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.top; !found && p-- > start;) {
        const yaml_node_t *k = yaml_tree_node(t, p->key);
        if (k->type == YAML_SCALAR_NODE && !yaml_tree_is_merge_key(k) &&
            strcmp(yaml_tree_scalar_text(k), key) == 0)
            found = yaml_tree_node(t, p->value);
    }
    for (yaml_node_pair_t *p = map->data.mapping.pairs.top; !found && p-- > start;) {
        const yaml_node_t *value = yaml_tree_node(t, p->value);
        if (!yaml_tree_is_merge_key(yaml_tree_node(t, p->key)))
            continue;
        if (value->type == YAML_MAPPING_NODE)
            found = yaml_tree_find_key(t, value, key);
        for (yaml_node_item_t *i = value->data.sequence.items.start;
             value->type == YAML_SEQUENCE_NODE && !found && i < value->data.sequence.items.top; i++)
            if (yaml_tree_node(t, *i)->type == YAML_MAPPING_NODE)
                found = yaml_tree_find_key(t, yaml_tree_node(t, *i), key);
    }
    return found && !yaml_tree_is_null(found) ? found : NULL;
}

static void warn(const struct yaml_tree *t, const yaml_node_t *node, const char *format, ...)
{
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    yaml_tree_warn(t->tool, t->path, yaml_tree_line(node), text);
}

/* Keys that stand twice, and those that look like a known one, get a warning. */
void yaml_tree_check_keys(const struct yaml_tree *t, const yaml_node_t *map, size_t n,
                          const char *const *known)
{
    yaml_node_pair_t *start = map->data.mapping.pairs.start;
    for (yaml_node_pair_t *p = start; p < map->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_tree_node(t, p->key);
        if (key->type != YAML_SCALAR_NODE || yaml_tree_is_merge_key(key))
            continue;
        for (yaml_node_pair_t *q = start; q < p; q++)
            if (yaml_tree_node(t, q->key)->type == YAML_SCALAR_NODE &&
                strcmp(yaml_tree_scalar_text(yaml_tree_node(t, q->key)),
                       yaml_tree_scalar_text(key)) == 0)
                warn(t, key, "%s stands here twice; the last counts", yaml_tree_scalar_text(key));
        bool is_known = n == 0;
        for (size_t i = 0; i < n; i++)
            is_known |= strcmp(yaml_tree_scalar_text(key), known[i]) == 0;
        const char *near = is_known ? NULL : suggest_word(yaml_tree_scalar_text(key), n, known);
        if (near)
            warn(t, key, "%s is ignored (is %s meant?)", yaml_tree_scalar_text(key), near);
    }
}

int yaml_tree_expect_type(const struct yaml_tree *t, const yaml_node_t *node, yaml_node_type_t type,
                          const char *what)
{
    if (node->type == type)
        return 0;
    return yaml_tree_error(t, node, "%s must be a %s", what,
                           type == YAML_MAPPING_NODE ? "map" : "list");
}

size_t yaml_tree_list_length(const yaml_node_t *list)
{
    return (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
}

const yaml_node_t *yaml_tree_list_item(const struct yaml_tree *t, const yaml_node_t *list, size_t i)
{
    return yaml_tree_node(t, list->data.sequence.items.start[i]);
}
