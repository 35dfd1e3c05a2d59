#include "merge_config.h"

#include "merge_method.h"
#include "yaml_file.h"

#include <string.h>

#define MAX_DOCUMENTS 256

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- models, slices, modules ----------------------------------------------------------------- */

static int read_slices(const struct yaml_tree *t, const yaml_node_t *list, struct config_module *m)
{
    if (yaml_tree_expect_type(t, list, YAML_SEQUENCE_NODE, "slices"))
        return -1;
    m->has_slices = true;
    m->n_slices = yaml_tree_list_length(list);
    if (m->n_slices == 0)
        return yaml_tree_error(t, list, "slices is empty");
    m->slices = arena_alloc(t->a, m->n_slices, sizeof *m->slices);
    for (size_t i = 0; i < m->n_slices; i++)
        if (config_slices_read_slice(t, yaml_tree_list_item(t, list, i), &m->slices[i]))
            return -1;
    return 0;
}

/* The key models or slices of a document, or of a module. */
static int read_models_or_slices(const struct yaml_tree *t, const yaml_node_t *map,
                                 struct config_module *m)
{
    const yaml_node_t *models = yaml_tree_find_key(t, map, "models");
    const yaml_node_t *slices = yaml_tree_find_key(t, map, "slices");
    if (!models == !slices)
        return yaml_tree_error(t, map, "expected exactly one of models, slices and modules");
    if (slices)
        return read_slices(t, slices, m);
    m->n_slices = 1;
    m->slices = arena_alloc(t->a, 1, sizeof *m->slices);
    return config_slices_read_models(t, models, m->slices);
}

static int read_module(const struct yaml_tree *t, const yaml_node_t *key, const yaml_node_t *map,
                       struct config_module *m)
{
    static const char *const known[] = {"models", "slices", "parameters"};
    if (key->type != YAML_SCALAR_NODE)
        return yaml_tree_error(t, key, "the name of a module must be a string");
    if (yaml_tree_expect_type(t, map, YAML_MAPPING_NODE, "a module"))
        return -1;
    const char *name = yaml_tree_scalar_text(key);
    m->line = yaml_tree_line(key);
    m->name = strcmp(name, "default") == 0 ? NULL : arena_copy_text(t->a, name);
    yaml_tree_check_keys(t, map, COUNT(known), known);
    return read_models_or_slices(t, map, m) || config_parameters_read(t, map, &m->parameters) ? -1
                                                                                              : 0;
}

static int read_modules(const struct yaml_tree *t, const yaml_node_t *modules,
                        struct merge_config *c)
{
    if (yaml_tree_expect_type(t, modules, YAML_MAPPING_NODE, "modules"))
        return -1;
    const yaml_node_pair_t *start = modules->data.mapping.pairs.start;
    size_t n = (size_t)(modules->data.mapping.pairs.top - start);
    if (n == 0)
        return yaml_tree_error(t, modules, "modules is empty");
    c->modules = arena_alloc(t->a, n, sizeof *c->modules);
    yaml_tree_check_keys(t, modules, 0, NULL);
    for (size_t i = 0; i < n; i++) {
        const yaml_node_t *key = yaml_tree_node(t, start[i].key);
        const yaml_node_t *value = yaml_tree_node(t, start[i].value);
        const yaml_node_t *last = key->type == YAML_SCALAR_NODE
                                      ? yaml_tree_find_key(t, modules, yaml_tree_scalar_text(key))
                                      : NULL;
        bool overridden = last && last != value;
        if (!overridden && read_module(t, key, value, &c->modules[c->n_modules++]))
            return -1;
    }
    for (size_t i = 0; i < c->n_modules && c->n_modules > 1; i++)
        if (!c->modules[i].name)
            return yaml_tree_error(t, modules,
                                   "the module default is the whole model, so it must "
                                   "be the only one");
    return 0;
}

/* ---- documents ------------------------------------------------------------------------------- */

static int read_method_and_base(const struct yaml_tree *t, const yaml_node_t *map,
                                struct merge_config *c)
{
    const yaml_node_t *method = yaml_tree_find_key(t, map, "merge_method");
    const yaml_node_t *base = yaml_tree_find_key(t, map, "base_model");
    if (!method)
        return yaml_tree_error(t, map, "merge_method is missing%s",
                               yaml_tree_find_key(t, map, "experts")
                                   ? "; a mixture of experts is made by tv moe"
                                   : "");
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
    if (modules)
        return read_modules(t, modules, c);
    c->n_modules = 1;
    c->modules = arena_alloc(t->a, 1, sizeof *c->modules);
    c->modules->line = c->line;
    return read_models_or_slices(t, map, c->modules);
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
    *f = (struct merge_config_file){.path = yaml_file_name(path),
                                    .is_standard_input = strcmp(path, "-") == 0};
    return yaml_file_read(path, tool, read_and_add_document, f, a, e);
}
