#include "yaml_tree.h"

#include "printable.h"
#include "spelling_suggestion.h"
#include "yaml_depth.h"
#include "yaml_number.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_KEYS  2048    /* of one map */
#define MAX_NODES 1000000 /* with aliases expanded */

/* ---- messages -------------------------------------------------------------------------------- */

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

void yaml_tree_print_warning(const char *tool, const char *path, size_t line, const char *sentence)
{
    printable_warning(tool, "%.200s, line %zu: %s", path, line, sentence);
}

void yaml_tree_warn(const struct yaml_tree *t, const yaml_node_t *node, const char *format, ...)
{
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    yaml_tree_print_warning(t->tool, t->path, yaml_tree_line(node), text);
}

/* ---- any node -------------------------------------------------------------------------------- */

yaml_node_t *yaml_tree_node(const struct yaml_tree *t, int index)
{
    return yaml_document_get_node(t->doc, index);
}

/* Validates the items of a list, or the keys and values of a map. */
static int validate_children(struct yaml_tree *t, const yaml_node_t *node, int depth)
{
    if (node->type == YAML_SEQUENCE_NODE)
        for (yaml_node_item_t *i = node->data.sequence.items.start;
             i < node->data.sequence.items.top; i++)
            if (yaml_tree_validate(t, yaml_tree_node(t, *i), depth))
                return -1;
    if (node->type != YAML_MAPPING_NODE)
        return 0;
    yaml_node_pair_t *start = node->data.mapping.pairs.start, *top = node->data.mapping.pairs.top;
    if (top - start > MAX_KEYS)
        return yaml_tree_error(t, node, "a map has more than %d keys", MAX_KEYS);
    for (yaml_node_pair_t *p = start; p < top; p++)
        if (yaml_tree_validate(t, yaml_tree_node(t, p->key), depth) ||
            yaml_tree_validate(t, yaml_tree_node(t, p->value), depth))
            return -1;
    return 0;
}

/* Aliases may nest, so a small file can have a huge number of nodes; each visit counts. */
int yaml_tree_validate(struct yaml_tree *t, const yaml_node_t *node, int depth)
{
    static const char standard[] = "tag:yaml.org,2002:";
    if (depth > YAML_DEPTH_MAX)
        return yaml_tree_error(t, node, "lists and maps are nested more than %d levels deep",
                               YAML_DEPTH_MAX);
    if (++t->visited > MAX_NODES)
        return yaml_tree_error(t, node, "aliases expand to more than %d nodes", MAX_NODES);
    if (node->tag && strncmp((const char *)node->tag, standard, sizeof standard - 1) != 0)
        return yaml_tree_error(t, node, "the tag %.60s is not supported", node->tag);
    return validate_children(t, node, depth + 1);
}

static const char *node_type_name(yaml_node_type_t type)
{
    return type == YAML_MAPPING_NODE ? "map" : type == YAML_SEQUENCE_NODE ? "list" : "scalar";
}

int yaml_tree_expect_type(const struct yaml_tree *t, const yaml_node_t *node, yaml_node_type_t type,
                          const char *what)
{
    if (node->type == type)
        return 0;
    return yaml_tree_error(t, node, "%s must be a %s, but it is a %s", what, node_type_name(type),
                           node_type_name(node->type));
}

/* ---- scalars --------------------------------------------------------------------------------- */

static bool is_plain_scalar(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

const char *yaml_tree_scalar_text(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

bool yaml_tree_is_null(const yaml_node_t *node)
{
    static const char *const null[] = {"null", NULL};
    if (!is_plain_scalar(node))
        return false;
    const char *text = yaml_tree_scalar_text(node);
    return !*text || strcmp(text, "~") == 0 || yaml_number_matches_word_in_yaml_case(text, null);
}

int yaml_tree_read_number(const struct yaml_tree *t, const yaml_node_t *node, const char *what,
                          double *x)
{
    if (yaml_tree_is_null(node))
        return yaml_tree_error(t, node, "%s must be a number, but it is null", what);
    if (node->type != YAML_SCALAR_NODE)
        return yaml_tree_error(t, node, "%s must be a number, but it is a %s", what,
                               node_type_name(node->type));
    if (yaml_number_parse(yaml_tree_scalar_text(node), is_plain_scalar(node), x))
        return 0;
    return yaml_tree_error(t, node, "%s: \"%.100s\" is not a number", what,
                           yaml_tree_scalar_text(node));
}

int yaml_tree_read_flag(const struct yaml_tree *t, const yaml_node_t *node, const char *what,
                        double *x)
{
    bool is_scalar = node->type == YAML_SCALAR_NODE && !yaml_tree_is_null(node);
    if (is_scalar && yaml_number_parse_flag(yaml_tree_scalar_text(node), x))
        return 0;
    return yaml_tree_error(t, node, "%s must be true or false, but it is %.100s", what,
                           is_scalar ? yaml_tree_scalar_text(node) : node_type_name(node->type));
}

int yaml_tree_read_string(const struct yaml_tree *t, const yaml_node_t *node, const char *what,
                          const char **text)
{
    if (yaml_tree_is_null(node))
        return 0;
    if (node->type != YAML_SCALAR_NODE)
        return yaml_tree_error(t, node, "%s must be a string, but it is a %s", what,
                               node_type_name(node->type));
    if (strlen(yaml_tree_scalar_text(node)) != node->data.scalar.length)
        return yaml_tree_error(t, node, "%s contains a NUL byte", what);
    *text = arena_copy_text_n(t->a, yaml_tree_scalar_text(node), node->data.scalar.length);
    return 0;
}

/* ---- maps ------------------------------------------------------------------------------------ */

bool yaml_tree_is_merge_key(const yaml_node_t *key)
{
    return is_plain_scalar(key) && strcmp(yaml_tree_scalar_text(key), "<<") == 0;
}

/* The value of a key that the map itself has. */
static const yaml_node_t *find_own_key(const struct yaml_tree *t, const yaml_node_t *map,
                                       const char *key)
{
    yaml_node_pair_t *start = map->data.mapping.pairs.start;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.top; p-- > start;) {
        const yaml_node_t *k = yaml_tree_node(t, p->key);
        if (k->type == YAML_SCALAR_NODE && !yaml_tree_is_merge_key(k) &&
            strcmp(yaml_tree_scalar_text(k), key) == 0)
            return yaml_tree_node(t, p->value);
    }
    return NULL;
}

/* The value of a key in the operand of a << merge: a map, or a list of maps. */
static const yaml_node_t *find_key_in_merged_maps(const struct yaml_tree *t,
                                                  const yaml_node_t *merged, const char *key)
{
    const yaml_node_t *found = NULL;
    if (merged->type == YAML_MAPPING_NODE)
        return yaml_tree_find_key(t, merged, key);
    size_t n = yaml_tree_is_list(merged) ? yaml_tree_list_length(merged) : 0;
    for (size_t i = 0; !found && i < n; i++)
        if (yaml_tree_list_item(t, merged, i)->type == YAML_MAPPING_NODE)
            found = yaml_tree_find_key(t, yaml_tree_list_item(t, merged, i), key);
    return found;
}

const yaml_node_t *yaml_tree_find_key(const struct yaml_tree *t, const yaml_node_t *map,
                                      const char *key)
{
    const yaml_node_t *found = find_own_key(t, map, key);
    yaml_node_pair_t *start = map->data.mapping.pairs.start;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.top; !found && p-- > start;)
        if (yaml_tree_is_merge_key(yaml_tree_node(t, p->key)))
            found = find_key_in_merged_maps(t, yaml_tree_node(t, p->value), key);
    return found && !yaml_tree_is_null(found) ? found : NULL;
}

static void warn_of_duplicate_key(const struct yaml_tree *t, const yaml_node_t *map,
                                  const yaml_node_pair_t *pair)
{
    const yaml_node_t *key = yaml_tree_node(t, pair->key);
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < pair; p++) {
        const yaml_node_t *other = yaml_tree_node(t, p->key);
        if (other->type == YAML_SCALAR_NODE &&
            strcmp(yaml_tree_scalar_text(other), yaml_tree_scalar_text(key)) == 0) {
            yaml_tree_warn(t, key, "duplicate key %s; the last one is used",
                           yaml_tree_scalar_text(key));
            return;
        }
    }
}

static void warn_of_unknown_key(const struct yaml_tree *t, const yaml_node_t *key, size_t n,
                                const char *const *known)
{
    const char *text = yaml_tree_scalar_text(key);
    for (size_t i = 0; i < n; i++)
        if (strcmp(text, known[i]) == 0)
            return;
    if (t->is_parameter && t->is_parameter(text))
        yaml_tree_warn(t, key, "%s is ignored here: put it under parameters", text);
    else
        yaml_tree_warn(t, key, "unknown key %s is ignored%s", text,
                       spelling_suggestion_phrase(spelling_suggestion_find(text, n, known), t->a));
}

void yaml_tree_check_keys(const struct yaml_tree *t, const yaml_node_t *map, size_t n,
                          const char *const *known)
{
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_tree_node(t, p->key);
        if (key->type != YAML_SCALAR_NODE || yaml_tree_is_merge_key(key))
            continue;
        warn_of_duplicate_key(t, map, p);
        if (n)
            warn_of_unknown_key(t, key, n, known);
    }
}

int yaml_tree_read_dtype(const struct yaml_tree *t, const yaml_node_t *map, const char *key,
                         enum dtype *dtype)
{
    const yaml_node_t *node = yaml_tree_find_key(t, map, key);
    const char *text = "";
    if (!node)
        return 0;
    if (yaml_tree_read_string(t, node, key, &text))
        return -1;
    *dtype = dtype_from_user_name(text);
    if (*dtype != DTYPE_NONE)
        return 0;
    return yaml_tree_error(t, node,
                           "%s: unknown dtype \"%.60s\"; expected float32, bfloat16 or "
                           "float16",
                           key, text);
}

/* ---- lists ----------------------------------------------------------------------------------- */

bool yaml_tree_is_list(const yaml_node_t *node)
{
    return node->type == YAML_SEQUENCE_NODE;
}

size_t yaml_tree_list_length(const yaml_node_t *list)
{
    return (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
}

const yaml_node_t *yaml_tree_list_item(const struct yaml_tree *t, const yaml_node_t *list, size_t i)
{
    return yaml_tree_node(t, list->data.sequence.items.start[i]);
}
