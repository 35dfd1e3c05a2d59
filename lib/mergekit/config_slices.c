#include "config_slices.h"

#include <math.h>
#include <string.h>

#define MAX_LAYER 1000000
#define COUNT(a)  (sizeof(a) / sizeof *(a))

/* ---- references to models -------------------------------------------------------------------- */

static int read_model_reference_map(const struct yaml_tree *t, const yaml_node_t *map,
                                    const char *what, const char **model)
{
    const yaml_node_t *inner = yaml_tree_find_key(t, map, "model");
    const yaml_node_t *revision = yaml_tree_find_key(t, map, "revision");
    const char *text = NULL;
    inner = inner ? inner : yaml_tree_find_key(t, map, "path");
    if (!inner)
        return yaml_tree_error(t, map, "%s must be the path or name of a model", what);
    const yaml_node_t *lora = yaml_tree_find_key(t, map, "lora");
    const char *adapter = NULL;
    if (config_slices_read_model_path(t, inner, what, model) ||
        (revision && yaml_tree_read_string(t, revision, "revision", &text)) ||
        (lora && config_slices_read_model_path(t, lora, what, &adapter)))
        return -1;
    if (text)
        *model = arena_printf(t->a, "%s@%s", *model, text);
    if (adapter)
        *model = arena_printf(t->a, "%s+%s", *model, adapter);
    return 0;
}

int config_slices_read_model_path(const struct yaml_tree *t, const yaml_node_t *node,
                                  const char *what, const char **model)
{
    if (node->type == YAML_MAPPING_NODE)
        return read_model_reference_map(t, node, what, model);
    if (yaml_tree_read_string(t, node, what, model))
        return -1;
    if (!*model || !**model)
        return yaml_tree_error(t, node, "%s must be the path or name of a model", what);
    bool has_adapter = strchr(*model, '+');
    if (!has_adapter && strchr(*model, '@') != strrchr(*model, '@'))
        return yaml_tree_error(t, node, "%s: %.200s has more than one @", what, *model);
    return 0;
}

/* ---- sources --------------------------------------------------------------------------------- */

static int read_layer_number(const struct yaml_tree *t, const yaml_node_t *node, long *layer)
{
    double x;
    if (yaml_tree_read_number(t, node, "layer_range", &x))
        return -1;
    if (x < 0 || x > MAX_LAYER || x != floor(x))
        return yaml_tree_error(t, node, "layer_range must hold whole numbers from 0 to %d",
                               MAX_LAYER);
    *layer = (long)x;
    return 0;
}

static int read_layer_range(const struct yaml_tree *t, const yaml_node_t *node,
                            struct config_model_entry *s)
{
    if (yaml_tree_expect_type(t, node, YAML_SEQUENCE_NODE, "layer_range"))
        return -1;
    if (yaml_tree_list_length(node) != 2)
        return yaml_tree_error(t, node, "layer_range has %zu numbers; expected [from, to)",
                               yaml_tree_list_length(node));
    if (read_layer_number(t, yaml_tree_list_item(t, node, 0), &s->from) ||
        read_layer_number(t, yaml_tree_list_item(t, node, 1), &s->to))
        return -1;
    if (s->from >= s->to)
        return yaml_tree_error(t, node, "layer_range [%ld, %ld] is empty", s->from, s->to);
    s->has_range = true;
    return 0;
}

static int read_model_entry(const struct yaml_tree *t, const yaml_node_t *node, bool in_slice,
                            struct config_model_entry *s)
{
    static const char *const known[] = {"model", "parameters", "layer_range"};
    if (yaml_tree_expect_type(t, node, YAML_MAPPING_NODE, in_slice ? "a source" : "a model"))
        return -1;
    yaml_tree_check_keys(t, node, COUNT(known), known);
    const yaml_node_t *model = yaml_tree_find_key(t, node, "model");
    const yaml_node_t *range = yaml_tree_find_key(t, node, "layer_range");
    s->line = yaml_tree_line(node);
    if (!model)
        return yaml_tree_error(t, node, "model is missing");
    if (in_slice && !range)
        return yaml_tree_error(t, node, "layer_range is missing");
    if (in_slice && read_layer_range(t, range, s))
        return -1;
    if (!in_slice && range)
        yaml_tree_warn(t, range,
                       "layer_range is ignored here: it belongs in the sources of slices");
    if (config_slices_read_model_path(t, model, "model", &s->model))
        return -1;
    return config_parameters_read(t, node, &s->parameters);
}

static int read_model_entries(const struct yaml_tree *t, const yaml_node_t *list, bool in_slice,
                              struct config_slice *slice)
{
    const char *what = in_slice ? "sources" : "models";
    if (yaml_tree_expect_type(t, list, YAML_SEQUENCE_NODE, what))
        return -1;
    slice->n_sources = yaml_tree_list_length(list);
    slice->line = yaml_tree_line(list);
    slice->sources = arena_alloc(t->a, slice->n_sources, sizeof *slice->sources);
    if (slice->n_sources == 0)
        return yaml_tree_error(t, list, "%s is empty", what);
    for (size_t i = 0; i < slice->n_sources; i++)
        if (read_model_entry(t, yaml_tree_list_item(t, list, i), in_slice, &slice->sources[i]))
            return -1;
    return 0;
}

int config_slices_read_models(const struct yaml_tree *t, const yaml_node_t *list,
                              struct config_slice *slice)
{
    return read_model_entries(t, list, false, slice);
}

/* ---- slices ---------------------------------------------------------------------------------- */

static int check_equal_layer_counts_in_slice(const struct yaml_tree *t, const yaml_node_t *sources,
                                             const struct config_slice *s)
{
    long first = s->sources[0].to - s->sources[0].from;
    for (size_t i = 1; i < s->n_sources; i++) {
        long layers = s->sources[i].to - s->sources[i].from;
        if (layers != first)
            return yaml_tree_error(
                t, sources,
                "the sources of a slice have %ld and %ld layers; expected the same number", first,
                layers);
    }
    return 0;
}

int config_slices_read_slice(const struct yaml_tree *t, const yaml_node_t *node,
                             struct config_slice *s)
{
    static const char *const known[] = {"sources", "base_model", "parameters", "residual_weight"};
    if (yaml_tree_expect_type(t, node, YAML_MAPPING_NODE, "a slice"))
        return -1;
    yaml_tree_check_keys(t, node, COUNT(known), known);
    const yaml_node_t *sources = yaml_tree_find_key(t, node, "sources");
    const yaml_node_t *base = yaml_tree_find_key(t, node, "base_model");
    if (!sources)
        return yaml_tree_error(t, node, "sources is missing");
    if (read_model_entries(t, sources, true, s) ||
        check_equal_layer_counts_in_slice(t, sources, s) ||
        (base && config_slices_read_model_path(t, base, "base_model", &s->base)))
        return -1;
    return config_parameters_read(t, node, &s->parameters);
}
