/* Access to one YAML document (version 1.1, as PyYAML reads it): checked maps, lists, strings and
 * numbers, with errors and warnings that name the file and the line.
 * The nodes belong to the libyaml document; strings are copied to the tree's arena. */
#ifndef TV_YAML_TREE_H
#define TV_YAML_TREE_H

#include "dtype.h"
#include "error.h"
#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

struct yaml_tree {
    const char *path; /* of the file, for messages */
    const char *tool; /* the command, for warnings */
    yaml_document_t *doc;
    size_t visited;                        /* nodes, by yaml_tree_validate */
    bool (*is_parameter)(const char *key); /* of a merge, for warnings about misplaced keys; NULL */
    struct arena *a;
    struct error *e;
};

/* ---- messages -------------------------------------------------------------------------------- */

size_t yaml_tree_line(const yaml_node_t *node);
/* Sets an error with the file and the node's line; always -1. */
int yaml_tree_error(const struct yaml_tree *t, const yaml_node_t *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Prints "TOOL: warning: PATH, line LINE: SENTENCE" on standard error, with control characters
 * replaced by '?'. */
void yaml_tree_warn(const struct yaml_tree *t, const yaml_node_t *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void yaml_tree_print_warning(const char *tool, const char *path, size_t line, const char *sentence);

/* ---- any node -------------------------------------------------------------------------------- */

/* Checks the whole tree below `node`: an error if it is too deep, grows too much when aliases are
 * expanded, or has application-specific tags. Call it before the functions below. */
int yaml_tree_validate(struct yaml_tree *t, const yaml_node_t *node, int depth);
yaml_node_t *yaml_tree_node(const struct yaml_tree *t, int index);
/* Is the node of this type (a map or a list)? `what` names the node in the message. */
int yaml_tree_expect_type(const struct yaml_tree *t, const yaml_node_t *node, yaml_node_type_t type,
                          const char *what);

/* ---- scalars --------------------------------------------------------------------------------- */

const char *yaml_tree_scalar_text(const yaml_node_t *node);
bool yaml_tree_is_null(const yaml_node_t *node);
/* A number; booleans are 1 and 0. */
int yaml_tree_read_number(const struct yaml_tree *t, const yaml_node_t *node, const char *what,
                          double *x);
/* A boolean, as 1 or 0: as YAML writes them, those words in quotes, or the numbers 0 and 1. */
int yaml_tree_read_flag(const struct yaml_tree *t, const yaml_node_t *node, const char *what,
                        double *x);
/* A string; null leaves *text unchanged. */
int yaml_tree_read_string(const struct yaml_tree *t, const yaml_node_t *node, const char *what,
                          const char **text);

/* ---- maps ------------------------------------------------------------------------------------ */

/* The value of a key: the last of duplicates, else that of the maps that << merges in. NULL if
 * there is none or it is null. */
const yaml_node_t *yaml_tree_find_key(const struct yaml_tree *t, const yaml_node_t *map,
                                      const char *key);
/* The dtype that a key of a map names; *dtype stays unchanged without the key. */
int yaml_tree_read_dtype(const struct yaml_tree *t, const yaml_node_t *map, const char *key,
                         enum dtype *dtype);
/* Is the key <<? */
bool yaml_tree_is_merge_key(const yaml_node_t *key);
/* Warns about duplicate keys, and about keys that are not among the `n` known ones; with n = 0
 * every key is known. */
void yaml_tree_check_keys(const struct yaml_tree *t, const yaml_node_t *map, size_t n,
                          const char *const *known);

/* ---- lists ----------------------------------------------------------------------------------- */

bool yaml_tree_is_list(const yaml_node_t *node);
size_t yaml_tree_list_length(const yaml_node_t *list);
const yaml_node_t *yaml_tree_list_item(const struct yaml_tree *t, const yaml_node_t *list,
                                       size_t i);

#endif
