/* A YAML document (1.1, as PyYAML reads it) as a tree of maps, lists and scalars: what every place
 * of a configuration needs to read one. What is handed out lives in the tree's arena. */
#ifndef TV_YAML_TREE_H
#define TV_YAML_TREE_H

#include "error.h"
#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#define YAML_TREE_MAX_DEPTH 40

/* `tool` begins warnings on standard error. */
struct yaml_tree {
    const char *path, *tool;
    yaml_document_t *doc;
    size_t visited;
    struct arena *a;
    struct error *e;
};

size_t yaml_tree_line(const yaml_node_t *node);
/* An error at the node's line; always -1. */
int yaml_tree_error(const struct yaml_tree *t, const yaml_node_t *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Prints a sentence about a line, without control characters that names may hold. */
void yaml_tree_warn(const char *tool, const char *path, size_t line, const char *sentence);

/* Scalars: the text as it stands; a null in any spelling; a number, for which booleans count as 1
 * and 0; a text, which a null leaves as it was. `what` is what messages call it. */
const char *yaml_tree_scalar_text(const yaml_node_t *node);
bool yaml_tree_is_null(const yaml_node_t *node);
int yaml_tree_read_number(const struct yaml_tree *t, const yaml_node_t *node, const char *what,
                          double *x);
int yaml_tree_read_string(const struct yaml_tree *t, const yaml_node_t *node, const char *what,
                          const char **text);

/* Looks at all there is before anything is read: refuses what is nested too deep or repeated too
 * often by aliases, and tags of a program's own. */
int yaml_tree_validate(struct yaml_tree *t, const yaml_node_t *node, int depth);
yaml_node_t *yaml_tree_node(const struct yaml_tree *t, int index);
int yaml_tree_expect_type(const struct yaml_tree *t, const yaml_node_t *node, yaml_node_type_t type,
                          const char *what);

/* Maps: the value of a key (of several the last one, then those of a << that the map holds), NULL
 * if there is none or it is null; is this key a <<? Keys that stand twice, and those that look like
 * one of the known, get a warning. */
const yaml_node_t *yaml_tree_find_key(const struct yaml_tree *t, const yaml_node_t *map,
                                      const char *key);
bool yaml_tree_is_merge_key(const yaml_node_t *key);
void yaml_tree_check_keys(const struct yaml_tree *t, const yaml_node_t *map, size_t n,
                          const char *const *known);

size_t yaml_tree_list_length(const yaml_node_t *list);
const yaml_node_t *yaml_tree_list_item(const struct yaml_tree *t, const yaml_node_t *list,
                                       size_t i);

#endif
