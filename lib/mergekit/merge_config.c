#include "merge_config.h"

#include "merge_method.h"
#include "yaml_file.h"

#include <string.h>

#define MAX_DOCUMENTS 256

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- models, slices, modules ----------------------------------------------------------------- */

static int read_slices(const struct yaml_tree *t, const yaml_node_t *list, struct merge_config *c)
{
    if (yaml_tree_expect_type(t, list, YAML_SEQUENCE_NODE, "slices"))
        return -1;
    c->has_slices = true;
    c->n_slices = yaml_tree_list_length(list);
    if (c->n_slices == 0)
        return yaml_tree_error(t, list, "slices is empty");
    c->slices = arena_alloc(t->a, c->n_slices, sizeof *c->slices);
    for (size_t i = 0; i < c->n_slices; i++)
        if (config_slices_read_slice(t, yaml_tree_list_item(t, list, i), &c->slices[i]))
            return -1;
    return 0;
}

/* The key models or slices of a document, or of its module. */
static int read_models_or_slices(const struct yaml_tree *t, const yaml_node_t *map,
                                 struct merge_config *c)
{
    const yaml_node_t *models = yaml_tree_find_key(t, map, "models");
    const yaml_node_t *slices = yaml_tree_find_key(t, map, "slices");
    if (!models == !slices)
        return yaml_tree_error(t, map, "expected exactly one of models, slices and modules");
    if (slices)
        return read_slices(t, slices, c);
    c->n_slices = 1;
    c->slices = arena_alloc(t->a, 1, sizeof *c->slices);
    return config_slices_read_models(t, models, c->slices);
}

static int check_module_names(const struct yaml_tree *t, const yaml_node_t *modules)
{
    for (yaml_node_pair_t *p = modules->data.mapping.pairs.start;
         p < modules->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_tree_node(t, p->key);
        bool scalar = key->type == YAML_SCALAR_NODE;
        if (!scalar || strcmp(yaml_tree_scalar_text(key), "default") != 0)
            return yaml_tree_error(t, key, "the module %.60s is not supported; expected default",
                                   scalar ? yaml_tree_scalar_text(key) : "?");
    }
    return 0;
}

static int read_modules(const struct yaml_tree *t, const yaml_node_t *modules,
                        struct merge_config *c)
{
    static const char *const known[] = {"models", "slices", "parameters"};
    if (yaml_tree_expect_type(t, modules, YAML_MAPPING_NODE, "modules") ||
        check_module_names(t, modules))
        return -1;
    const yaml_node_t *module = yaml_tree_find_key(t, modules, "default");
    if (!module)
        return yaml_tree_error(t, modules, "modules is empty; expected the module default");
    if (yaml_tree_expect_type(t, module, YAML_MAPPING_NODE, "a module"))
        return -1;
    yaml_tree_check_keys(t, module, COUNT(known), known);
    if (read_models_or_slices(t, module, c))
        return -1;
    return config_parameters_read(t, module, &c->module_parameters);
}

/* ---- documents ------------------------------------------------------------------------------- */

static int read_method_and_base(const struct yaml_tree *t, const yaml_node_t *map,
                                struct merge_config *c)
{
    const yaml_node_t *method = yaml_tree_find_key(t, map, "merge_method");
    const yaml_node_t *base = yaml_tree_find_key(t, map, "base_model");
    if (!method)
        return yaml_tree_error(t, map, "merge_method is missing");
    c->method_line = yaml_tree_line(method);
    if (yaml_tree_read_string(t, method, "merge_method", &c->method))
        return -1;
    if (!base)
        return 0;
    c->base_line = yaml_tree_line(base);
    return config_slices_read_model_path(t, base, "base_model", &c->base);
}

static int read_name_and_chat_template(const struct yaml_tree *t, const yaml_node_t *map,
                                       struct merge_config *c)
{
    const yaml_node_t *name = yaml_tree_find_key(t, map, "name");
    const yaml_node_t *chat = yaml_tree_find_key(t, map, "chat_template");
    if (name && yaml_tree_read_string(t, name, "name", &c->name))
        return -1;
    if (!chat)
        return 0;
    c->chat_line = yaml_tree_line(chat);
    return yaml_tree_read_string(t, chat, "chat_template", &c->chat_template);
}

static const char *const document_keys[] = {
    "models", "slices",    "modules",          "merge_method", "base_model",    "parameters",
    "dtype",  "out_dtype", "tokenizer_source", "tokenizer",    "chat_template", "name"};

bool merge_config_is_document_key(const char *name)
{
    for (size_t i = 0; i < COUNT(document_keys); i++)
        if (strcmp(document_keys[i], name) == 0)
            return true;
    return false;
}

static int read_document(struct yaml_tree *t, const yaml_node_t *map, struct merge_config *c)
{
    if (yaml_tree_validate(t, map, 0) ||
        yaml_tree_expect_type(t, map, YAML_MAPPING_NODE, "a configuration"))
        return -1;
    yaml_tree_check_keys(t, map, COUNT(document_keys), document_keys);
    c->line = yaml_tree_line(map);
    if (read_method_and_base(t, map, c) || read_name_and_chat_template(t, map, c) ||
        yaml_tree_read_dtype(t, map, "dtype", &c->dtype) ||
        yaml_tree_read_dtype(t, map, "out_dtype", &c->out_dtype) ||
        config_tokenizer_read(t, map, &c->tokenizer) ||
        config_parameters_read(t, map, &c->parameters))
        return -1;
    const yaml_node_t *modules = yaml_tree_find_key(t, map, "modules");
    if (modules && (yaml_tree_find_key(t, map, "models") || yaml_tree_find_key(t, map, "slices")))
        return yaml_tree_error(t, modules, "expected exactly one of models, slices and modules");
    return modules ? read_modules(t, modules, c) : read_models_or_slices(t, map, c);
}

/* ---- the file -------------------------------------------------------------------------------- */

static int read_and_add_document(void *file, struct yaml_tree *t, const yaml_node_t *root)
{
    struct merge_config_file *f = file;
    if (f->n_documents == MAX_DOCUMENTS)
        return yaml_tree_error(t, root, "the file has more than %d documents", MAX_DOCUMENTS);
    struct merge_config *all = arena_alloc(t->a, f->n_documents + 1, sizeof *all);
    if (f->n_documents)
        memcpy(all, f->documents, f->n_documents * sizeof *all);
    f->documents = all;
    t->is_parameter = merge_method_is_known_parameter;
    return read_document(t, root, &all[f->n_documents++]);
}

int merge_config_read(struct merge_config_file *f, const char *path, const char *tool,
                      struct arena *a, struct error *e)
{
    *f = (struct merge_config_file){.path = yaml_file_name(path)};
    return yaml_file_read(path, tool, read_and_add_document, f, a, e);
}
