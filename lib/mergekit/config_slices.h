/* The models and slices of a merge configuration, read from YAML.
 * Everything belongs to the arena of the YAML tree that it is read from. */
#ifndef TV_CONFIG_SLICES_H
#define TV_CONFIG_SLICES_H

#include "config_parameters.h"

/* An entry of `models`, or of the `sources` of a slice. */
struct config_model_entry {
    const char *model; /* path, or name in the Hugging Face cache */
    size_t line;
    bool has_range;
    long from, to; /* layer_range: layers from .. to - 1 */
    struct config_parameters parameters;
    /* Set by input_models_list_and_name: */
    bool is_base;      /* it is the slice's base_model */
    size_t occurrence; /* 1: the second time that the slice lists the model, and so on */
};

/* An entry of `slices`. The key `models` is read as one slice whose sources have no ranges. */
struct config_slice {
    size_t line;
    size_t n_sources;
    struct config_model_entry *sources;
    const char *base; /* its own base_model; NULL: that of the document */
    struct config_parameters parameters;
};

/* A reference to a model: "path", or mergekit's long forms {path: P} and {model: {path: P}}.
 * `what` names the key in messages. */
int config_slices_read_model_path(const struct yaml_tree *t, const yaml_node_t *node,
                                  const char *what, const char **model);
/* The list `models`. */
int config_slices_read_models(const struct yaml_tree *t, const yaml_node_t *list,
                              struct config_slice *slice);
/* One entry of `slices`. */
int config_slices_read_slice(const struct yaml_tree *t, const yaml_node_t *node,
                             struct config_slice *slice);

#endif
