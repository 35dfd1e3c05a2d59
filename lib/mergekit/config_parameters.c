#include "config_parameters.h"

#include <string.h>

/* ---- values ---------------------------------------------------------------------------------- */

/* A scalar counts as a list of one. */
static size_t count_list_items(const yaml_node_t *node)
{
    return yaml_tree_is_list(node) ? yaml_tree_list_length(node) : 1;
}

static const yaml_node_t *get_list_item(const struct yaml_tree *t, const yaml_node_t *node,
                                        size_t i)
{
    return yaml_tree_is_list(node) ? yaml_tree_list_item(t, node, i) : node;
}

/* Reads one value. Text is an error later, where a parameter uses the value. */
static int read_scalar(const struct yaml_tree *t, const yaml_node_t *node, const char *name,
                       struct conditional_value *c, double *x)
{
    struct error why;
    struct yaml_tree inner = *t;
    inner.e = &why;
    double flag;
    if (node->type != YAML_SCALAR_NODE || yaml_tree_is_null(node))
        return yaml_tree_read_number(t, node, name, x);
    bool is_number = yaml_tree_read_number(&inner, node, name, x) == 0;
    if (!is_number && !c->number_error)
        c->number_error = arena_copy_text(t->a, why.text);
    if (yaml_tree_read_flag(&inner, node, name, &flag) == 0)
        *x = flag;
    else if (!c->flag_error)
        c->flag_error = arena_copy_text(t->a, why.text);
    return 0;
}

/* A scalar or a list of scalars. */
static int read_values(const struct yaml_tree *t, const yaml_node_t *node, const char *name,
                       struct conditional_value *c)
{
    c->n_values = count_list_items(node);
    double *values = arena_alloc(t->a, c->n_values, sizeof *values);
    c->values = values;
    if (c->n_values == 0)
        return yaml_tree_error(t, node, "%s is an empty list", name);
    for (size_t i = 0; i < c->n_values; i++)
        if (read_scalar(t, get_list_item(t, node, i), name, c, &values[i]))
            return -1;
    return 0;
}

/* A string or a list of strings. */
static int read_strings(const struct yaml_tree *t, const yaml_node_t *node,
                        struct config_parameter *p)
{
    p->n_texts = count_list_items(node);
    p->texts = arena_alloc(t->a, p->n_texts, sizeof *p->texts);
    for (size_t i = 0; i < p->n_texts; i++)
        if (yaml_tree_read_string(t, get_list_item(t, node, i), p->name, &p->texts[i]) ||
            !p->texts[i])
            return -1;
    return 0;
}

/* A value for all tensors. */
static int read_value_without_filter(const struct yaml_tree *t, const yaml_node_t *node,
                                     struct config_parameter *p)
{
    struct conditional_value *c = arena_alloc(t->a, 1, sizeof *c);
    p->conditions = c;
    p->n_conditions = 1;
    return read_values(t, node, p->name, c) || read_strings(t, node, p) ? -1 : 0;
}

/* {filter: TEXT, value: NUMBER or LIST} */
static int read_condition(const struct yaml_tree *t, const yaml_node_t *map, const char *name,
                          struct conditional_value *c)
{
    static const char *const known[] = {"filter", "value"};
    if (yaml_tree_expect_type(t, map, YAML_MAPPING_NODE, name))
        return -1;
    yaml_tree_check_keys(t, map, 2, known);
    const yaml_node_t *filter = yaml_tree_find_key(t, map, "filter");
    const yaml_node_t *value = yaml_tree_find_key(t, map, "value");
    if (!value)
        return yaml_tree_error(t, map, "%s: value is missing", name);
    if (filter && yaml_tree_read_string(t, filter, "filter", &c->filter))
        return -1;
    if (c->filter && (!*c->filter || strcmp(c->filter, "*") == 0))
        c->filter = NULL;
    return read_values(t, value, name, c);
}

/* A map with a filter, or a list of them. */
static int read_filtered_values(const struct yaml_tree *t, const yaml_node_t *node,
                                struct config_parameter *p)
{
    p->n_conditions = count_list_items(node);
    struct conditional_value *conditions = arena_alloc(t->a, p->n_conditions, sizeof *conditions);
    p->conditions = conditions;
    for (size_t i = 0; i < p->n_conditions; i++)
        if (read_condition(t, get_list_item(t, node, i), p->name, &conditions[i]))
            return -1;
    return 0;
}

static int read_parameter(const struct yaml_tree *t, const yaml_node_t *node,
                          struct config_parameter *p)
{
    const yaml_node_t *first = yaml_tree_is_list(node) ? yaml_tree_list_item(t, node, 0) : node;
    return first->type == YAML_MAPPING_NODE ? read_filtered_values(t, node, p)
                                            : read_value_without_filter(t, node, p);
}

/* ---- maps ------------------------------------------------------------------------------------ */

static void append_parameter(struct config_parameters *all, const struct config_parameter *p,
                             struct arena *a)
{
    all->items = arena_grow(a, all->items, all->n, &all->capacity, sizeof *all->items);
    all->items[all->n++] = *p;
}

/* Adds one parameter of the map, unless a later duplicate or an earlier map overrides it. */
static int read_parameter_pair(const struct yaml_tree *t, const yaml_node_t *map,
                               const yaml_node_pair_t *pair, struct config_parameters *out)
{
    const yaml_node_t *key = yaml_tree_node(t, pair->key);
    const yaml_node_t *value = yaml_tree_node(t, pair->value);
    if (key->type != YAML_SCALAR_NODE)
        return yaml_tree_error(t, key, "the name of a parameter must be a string");
    const char *name = arena_copy_text(t->a, yaml_tree_scalar_text(key));
    struct config_parameter p = {.line = yaml_tree_line(key), .name = name};
    if (yaml_tree_is_null(value))
        return yaml_tree_error(t, key, "%.100s has no value", name);
    if (yaml_tree_is_list(value) && yaml_tree_list_length(value) == 0) {
        yaml_tree_warn(t, key, "%.100s is an empty list and is ignored", name);
        return 0;
    }
    if (yaml_tree_find_key(t, map, name) != value || config_parameters_find(out, name))
        return 0;
    if (read_parameter(t, value, &p))
        return -1;
    append_parameter(out, &p, t->a);
    return 0;
}

static int read_parameter_map(const struct yaml_tree *t, const yaml_node_t *map,
                              struct config_parameters *out);

/* The value of <<: a map, or a list of maps. */
static int read_merged_maps(const struct yaml_tree *t, const yaml_node_t *value,
                            struct config_parameters *out)
{
    if (!yaml_tree_is_list(value))
        return read_parameter_map(t, value, out);
    for (size_t i = 0; i < yaml_tree_list_length(value); i++)
        if (read_parameter_map(t, yaml_tree_list_item(t, value, i), out))
            return -1;
    return 0;
}

/* Adds the parameters of a map, first its own, then those that << merges in. */
static int read_parameter_map(const struct yaml_tree *t, const yaml_node_t *map,
                              struct config_parameters *out)
{
    if (yaml_tree_expect_type(t, map, YAML_MAPPING_NODE, "parameters"))
        return -1;
    yaml_tree_check_keys(t, map, 0, NULL);
    yaml_node_pair_t *start = map->data.mapping.pairs.start, *top = map->data.mapping.pairs.top;
    for (yaml_node_pair_t *p = start; p < top; p++)
        if (!yaml_tree_is_merge_key(yaml_tree_node(t, p->key)) &&
            read_parameter_pair(t, map, p, out))
            return -1;
    for (yaml_node_pair_t *p = start; p < top; p++)
        if (yaml_tree_is_merge_key(yaml_tree_node(t, p->key)) &&
            read_merged_maps(t, yaml_tree_node(t, p->value), out))
            return -1;
    return 0;
}

int config_parameters_read(const struct yaml_tree *t, const yaml_node_t *map,
                           struct config_parameters *out)
{
    const yaml_node_t *parameters = yaml_tree_find_key(t, map, "parameters");
    return parameters ? read_parameter_map(t, parameters, out) : 0;
}

const struct config_parameter *config_parameters_find(const struct config_parameters *p,
                                                      const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->items[i].name, name) == 0)
            return &p->items[i];
    return NULL;
}
