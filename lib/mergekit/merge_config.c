#include "merge_config.h"

#include "yaml_tree.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX      ((size_t)16 << 20) /* bytes */
#define DOCUMENTS_MAX 256

/* ---- parameters ----------------------------------------------------------------------------- */

/* A number or a list of them. */
static int read_values(const struct yaml_tree *t, const yaml_node_t *node, const char *what,
                       struct conditional_value *c)
{
    c->n_values = node->type == YAML_SEQUENCE_NODE ? yaml_tree_list_length(node) : 1;
    double *values = arena_alloc(t->a, c->n_values, sizeof *values);
    c->values = values;
    if (c->n_values == 0)
        return yaml_tree_error(t, node, "%s is an empty list", what);
    for (size_t i = 0; i < c->n_values; i++) {
        const yaml_node_t *item =
            node->type == YAML_SEQUENCE_NODE ? yaml_tree_list_item(t, node, i) : node;
        if (yaml_tree_read_number(t, item, what, &values[i]))
            return -1;
    }
    return 0;
}

/* {filter: TEXT, value: NUMBER or LIST} */
static int read_condition(const struct yaml_tree *t, const yaml_node_t *map, const char *what,
                          struct conditional_value *c)
{
    static const char *const known[] = {"filter", "value"};
    if (yaml_tree_expect_type(t, map, YAML_MAPPING_NODE, what))
        return -1;
    yaml_tree_check_keys(t, map, 2, known);
    const yaml_node_t *filter = yaml_tree_find_key(t, map, "filter"),
                      *value = yaml_tree_find_key(t, map, "value");
    if (!value)
        return yaml_tree_error(t, map, "%s: value is missing", what);
    if (filter && yaml_tree_read_string(t, filter, "filter", &c->filter))
        return -1;
    if (c->filter && (!*c->filter || strcmp(c->filter, "*") == 0))
        c->filter = NULL;
    return read_values(t, value, what, c);
}

/* A text, or a list of texts, as they stand. */
static int read_texts(const struct yaml_tree *t, const yaml_node_t *node,
                      struct config_parameter *s)
{
    bool is_list = node->type == YAML_SEQUENCE_NODE;
    s->n_texts = is_list ? yaml_tree_list_length(node) : 1;
    s->texts = arena_alloc(t->a, s->n_texts, sizeof *s->texts);
    for (size_t i = 0; i < s->n_texts; i++)
        if (yaml_tree_read_string(t, is_list ? yaml_tree_list_item(t, node, i) : node, s->name,
                                  &s->texts[i]) ||
            !s->texts[i])
            return -1;
    return 0;
}

/* Numbers or texts. */
static int read_plain_setting(const struct yaml_tree *t, const yaml_node_t *node,
                              struct config_parameter *s, struct conditional_value *c)
{
    int failed = read_values(t, node, s->name, c);
    const char *wrong = failed ? arena_copy_text_n(t->a, t->e->text, strlen(t->e->text)) : NULL;
    if (read_texts(t, node, s) == 0) {
        s->number_error = wrong;
        s->n_conditions = failed ? 0 : 1;
        return 0;
    }
    s->n_texts = 0;
    return failed ? error_set(t->e, "%s", wrong) : 0;
}

static int read_setting(const struct yaml_tree *t, const yaml_node_t *node,
                        struct config_parameter *s)
{
    bool is_list = node->type == YAML_SEQUENCE_NODE && yaml_tree_list_length(node) > 0 &&
                   yaml_tree_list_item(t, node, 0)->type == YAML_MAPPING_NODE;
    if (node->type == YAML_MAPPING_NODE)
        return yaml_tree_error(t, node, "%s: a filter and its value must stand in a list", s->name);
    s->n_conditions = is_list ? yaml_tree_list_length(node) : 1;
    struct conditional_value *conditions = arena_alloc(t->a, s->n_conditions, sizeof *conditions);
    s->conditions = conditions;
    if (!is_list)
        return read_plain_setting(t, node, s, conditions);
    for (size_t i = 0; i < s->n_conditions; i++)
        if (read_condition(t, yaml_tree_list_item(t, node, i), s->name, &conditions[i]))
            return -1;
    return 0;
}

static int add_settings(const struct yaml_tree *t, const yaml_node_t *map, struct settings *out);

/* What a << stands for: a map, or a list of them. */
static int add_merged(const struct yaml_tree *t, const yaml_node_t *value, struct settings *out)
{
    if (value->type != YAML_SEQUENCE_NODE)
        return add_settings(t, value, out);
    for (size_t i = 0; i < yaml_tree_list_length(value); i++)
        if (add_settings(t, yaml_tree_list_item(t, value, i), out))
            return -1;
    return 0;
}

static int add_setting(const struct yaml_tree *t, const yaml_node_t *map, const yaml_node_pair_t *p,
                       struct settings *out)
{
    const yaml_node_t *key = yaml_tree_node(t, p->key), *value = yaml_tree_node(t, p->value);
    if (key->type != YAML_SCALAR_NODE)
        return yaml_tree_error(t, key, "the name of a parameter must be a text");
    struct config_parameter s = {.line = yaml_tree_line(key),
                                 .name = arena_copy_text_n(t->a, yaml_tree_scalar_text(key),
                                                           strlen(yaml_tree_scalar_text(key)))};
    if (yaml_tree_is_null(value))
        return yaml_tree_error(t, key, "%.100s has no value", s.name);
    if (yaml_tree_find_key(t, map, s.name) != value || config_parameters_find(out, s.name))
        return 0; /* another one counts */
    if (read_setting(t, value, &s))
        return -1;
    struct config_parameter *all = arena_alloc(t->a, out->n + 1, sizeof *all);
    if (out->n)
        memcpy(all, out->items, out->n * sizeof *all);
    all[out->n++] = s;
    out->items = all;
    return 0;
}

/* Adds what a map of parameters says: its own first, then those of a <<, which count less. */
static int add_settings(const struct yaml_tree *t, const yaml_node_t *map, struct settings *out)
{
    if (yaml_tree_expect_type(t, map, YAML_MAPPING_NODE, "parameters"))
        return -1;
    yaml_tree_check_keys(t, map, 0, NULL);
    yaml_node_pair_t *start = map->data.mapping.pairs.start, *top = map->data.mapping.pairs.top;
    for (yaml_node_pair_t *p = start; p < top; p++)
        if (!yaml_tree_is_merge_key(yaml_tree_node(t, p->key)) && add_setting(t, map, p, out))
            return -1;
    for (yaml_node_pair_t *p = start; p < top; p++)
        if (yaml_tree_is_merge_key(yaml_tree_node(t, p->key)) &&
            add_merged(t, yaml_tree_node(t, p->value), out))
            return -1;
    return 0;
}

/* The parameters of a map that may have some. */
static int read_settings(const struct yaml_tree *t, const yaml_node_t *map, struct settings *out)
{
    const yaml_node_t *parameters = yaml_tree_find_key(t, map, "parameters");
    return parameters ? add_settings(t, parameters, out) : 0;
}

const struct config_parameter *config_parameters_find(const struct settings *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->items[i].name, name) == 0)
            return &s->items[i];
    return NULL;
}

/* ---- models --------------------------------------------------------------------------------- */

/* "path", or mergekit's long forms {path: P} and {model: {path: P}}. */
static int read_model(const struct yaml_tree *t, const yaml_node_t *node, const char *what,
                      const char **model)
{
    const yaml_node_t *inner = NULL;
    if (node->type == YAML_MAPPING_NODE) {
        if (yaml_tree_find_key(t, node, "lora"))
            return yaml_tree_error(t, node, "%s: merging a LoRA is not supported", what);
        if (yaml_tree_find_key(t, node, "revision"))
            return yaml_tree_error(t, node, "%s: a revision is not supported; give the folder",
                                   what);
        inner = yaml_tree_find_key(t, node, "model");
        inner = inner ? inner : yaml_tree_find_key(t, node, "path");
        if (!inner)
            return yaml_tree_error(t, node, "%s must be the path or name of a model", what);
        return read_model(t, inner, what, model);
    }
    if (yaml_tree_read_string(t, node, what, model))
        return -1;
    if (!*model || !**model)
        return yaml_tree_error(t, node, "%s must be the path or name of a model", what);
    if (strchr(*model, '+'))
        return yaml_tree_error(t, node, "%s: merging a LoRA (%.200s) is not supported", what,
                               *model);
    if (strchr(*model, '@'))
        return yaml_tree_error(t, node, "%s: a revision (%.200s) is not supported; give the folder",
                               what, *model);
    return 0;
}

static int read_layer(const struct yaml_tree *t, const yaml_node_t *node, long *layer)
{
    double x;
    if (yaml_tree_read_number(t, node, "layer_range", &x))
        return -1;
    if (x < 0 || x > 1000000 || x != floor(x))
        return yaml_tree_error(t, node, "layer_range takes whole numbers from 0 on");
    *layer = (long)x;
    return 0;
}

static int read_range(const struct yaml_tree *t, const yaml_node_t *node, struct config_source *s)
{
    if (yaml_tree_expect_type(t, node, YAML_SEQUENCE_NODE, "layer_range"))
        return -1;
    if (yaml_tree_list_length(node) != 2)
        return yaml_tree_error(t, node, "layer_range takes two numbers: [from, to)");
    if (read_layer(t, yaml_tree_list_item(t, node, 0), &s->from) ||
        read_layer(t, yaml_tree_list_item(t, node, 1), &s->to))
        return -1;
    if (s->from >= s->to)
        return yaml_tree_error(t, node, "layer_range [%ld, %ld] holds no layer", s->from, s->to);
    s->has_range = true;
    return 0;
}

static int read_source(const struct yaml_tree *t, const yaml_node_t *node, bool in_slice,
                       struct config_source *s)
{
    static const char *const known[] = {"model", "parameters", "layer_range"};
    if (yaml_tree_expect_type(t, node, YAML_MAPPING_NODE, in_slice ? "a source" : "a model"))
        return -1;
    yaml_tree_check_keys(t, node, in_slice ? 3 : 2, known);
    const yaml_node_t *model = yaml_tree_find_key(t, node, "model"),
                      *range = yaml_tree_find_key(t, node, "layer_range");
    s->line = yaml_tree_line(node);
    if (!model)
        return yaml_tree_error(t, node, "model is missing");
    if (in_slice && !range)
        return yaml_tree_error(t, node, "layer_range is missing");
    if (in_slice && read_range(t, range, s))
        return -1;
    if (!in_slice && range)
        return yaml_tree_error(t, range,
                               "layer_range belongs to the sources of slices, not to models");
    return read_model(t, model, "model", &s->model) || read_settings(t, node, &s->parameters) ? -1
                                                                                              : 0;
}

static int read_sources(const struct yaml_tree *t, const yaml_node_t *list, bool in_slice,
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
        if (read_source(t, yaml_tree_list_item(t, list, i), in_slice, &slice->sources[i]))
            return -1;
    for (size_t i = 1; i < slice->n_sources && in_slice; i++) {
        const struct config_source *a = &slice->sources[0], *b = &slice->sources[i];
        if (a->to - a->from != b->to - b->from)
            return yaml_tree_error(t, list, "the sources of a slice have %ld and %ld layers",
                                   a->to - a->from, b->to - b->from);
    }
    return 0;
}

static int read_slice(const struct yaml_tree *t, const yaml_node_t *node, struct config_slice *s)
{
    static const char *const known[] = {"sources", "base_model", "parameters", "residual_weight"};
    if (yaml_tree_expect_type(t, node, YAML_MAPPING_NODE, "a slice"))
        return -1;
    yaml_tree_check_keys(t, node, 4, known);
    const yaml_node_t *sources = yaml_tree_find_key(t, node, "sources"),
                      *base = yaml_tree_find_key(t, node, "base_model");
    if (!sources)
        return yaml_tree_error(t, node, "sources is missing");
    if (read_sources(t, sources, true, s) || (base && read_model(t, base, "base_model", &s->base)))
        return -1;
    return read_settings(t, node, &s->parameters);
}

/* ---- documents ------------------------------------------------------------------------------ */

/* models or slices of the document or of its one module */
static int read_parts(const struct yaml_tree *t, const yaml_node_t *map, struct merge_config *c)
{
    const yaml_node_t *models = yaml_tree_find_key(t, map, "models"),
                      *slices = yaml_tree_find_key(t, map, "slices");
    if (!models == !slices)
        return yaml_tree_error(t, map, "exactly one of models, slices and modules is needed");
    c->has_slices = slices != NULL;
    c->n_slices = 1;
    if (slices) {
        if (yaml_tree_expect_type(t, slices, YAML_SEQUENCE_NODE, "slices"))
            return -1;
        c->n_slices = yaml_tree_list_length(slices);
        if (c->n_slices == 0)
            return yaml_tree_error(t, slices, "slices is empty");
    }
    c->slices = arena_alloc(t->a, c->n_slices, sizeof *c->slices);
    if (models)
        return read_sources(t, models, false, c->slices);
    for (size_t i = 0; i < c->n_slices; i++)
        if (read_slice(t, yaml_tree_list_item(t, slices, i), &c->slices[i]))
            return -1;
    return 0;
}

static int read_modules(const struct yaml_tree *t, const yaml_node_t *modules,
                        struct merge_config *c)
{
    static const char *const known[] = {"models", "slices", "parameters"};
    if (yaml_tree_expect_type(t, modules, YAML_MAPPING_NODE, "modules"))
        return -1;
    for (yaml_node_pair_t *p = modules->data.mapping.pairs.start;
         p < modules->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_tree_node(t, p->key);
        if (key->type != YAML_SCALAR_NODE || strcmp(yaml_tree_scalar_text(key), "default") != 0)
            return yaml_tree_error(t, key, "the module %.60s is not supported: only default is",
                                   key->type == YAML_SCALAR_NODE ? yaml_tree_scalar_text(key)
                                                                 : "?");
    }
    const yaml_node_t *module = yaml_tree_find_key(t, modules, "default");
    if (!module)
        return yaml_tree_error(t, modules, "modules has no module");
    if (yaml_tree_expect_type(t, module, YAML_MAPPING_NODE, "a module"))
        return -1;
    yaml_tree_check_keys(t, module, 3, known);
    return read_parts(t, module, c) || read_settings(t, module, &c->module_parameters) ? -1 : 0;
}

static int read_dtype(const struct yaml_tree *t, const yaml_node_t *map, const char *key,
                      enum dtype *dtype)
{
    const yaml_node_t *node = yaml_tree_find_key(t, map, key);
    const char *text = "";
    if (!node)
        return 0;
    if (yaml_tree_read_string(t, node, key, &text))
        return -1;
    *dtype = dtype_from_user_name(text);
    return *dtype != DTYPE_NONE
               ? 0
               : yaml_tree_error(t, node, "%s: \"%.60s\" is none of float32, bfloat16, float16",
                                 key, text);
}

/* tokenizer_source: base, or a model; tokenizer: {source: the same} */
static int read_tokenizer(const struct yaml_tree *t, const yaml_node_t *map, struct merge_config *c)
{
    const yaml_node_t *source = yaml_tree_find_key(t, map, "tokenizer_source");
    const yaml_node_t *tokenizer = yaml_tree_find_key(t, map, "tokenizer");
    if (source && tokenizer)
        return yaml_tree_error(t, tokenizer,
                               "only one of tokenizer and tokenizer_source can be given");
    if (tokenizer) {
        if (yaml_tree_expect_type(t, tokenizer, YAML_MAPPING_NODE, "tokenizer"))
            return -1;
        const yaml_node_t *tokens = yaml_tree_find_key(t, tokenizer, "tokens");
        const yaml_node_t *pad = yaml_tree_find_key(t, tokenizer, "pad_to_multiple_of");
        if (tokens || pad)
            return yaml_tree_error(t, tokens ? tokens : pad, "tokenizer: %s is not supported",
                                   tokens ? "tokens" : "pad_to_multiple_of");
        source = yaml_tree_find_key(t, tokenizer, "source");
        if (!source) /* mergekit's default */
            return yaml_tree_error(t, tokenizer,
                                   "tokenizer: the union of vocabularies is not supported; "
                                   "source must be base or a model");
    }
    if (!source)
        return 0;
    c->tokenizer_line = yaml_tree_line(source);
    if (read_model(t, source, "tokenizer_source", &c->tokenizer))
        return -1;
    if (strcmp(c->tokenizer, "union") == 0)
        return yaml_tree_error(t, source,
                               "tokenizer_source: the union of vocabularies is not supported; it "
                               "must be base or a model");
    return 0;
}

static int read_document(struct yaml_tree *t, const yaml_node_t *map, struct merge_config *c)
{
    static const char *const known[] = {
        "models", "slices",    "modules",          "merge_method", "base_model",    "parameters",
        "dtype",  "out_dtype", "tokenizer_source", "tokenizer",    "chat_template", "name"};
    if (yaml_tree_validate(t, map, 0) ||
        yaml_tree_expect_type(t, map, YAML_MAPPING_NODE, "a configuration"))
        return -1;
    yaml_tree_check_keys(t, map, sizeof known / sizeof *known, known);
    const yaml_node_t *method = yaml_tree_find_key(t, map, "merge_method"),
                      *base = yaml_tree_find_key(t, map, "base_model");
    const yaml_node_t *modules = yaml_tree_find_key(t, map, "modules"),
                      *name = yaml_tree_find_key(t, map, "name");
    const yaml_node_t *chat = yaml_tree_find_key(t, map, "chat_template");
    c->line = yaml_tree_line(map);
    if (!method)
        return yaml_tree_error(t, map, "merge_method is missing");
    c->method_line = yaml_tree_line(method);
    c->base_line = base ? yaml_tree_line(base) : 0;
    c->chat_line = chat ? yaml_tree_line(chat) : 0;
    if (yaml_tree_read_string(t, method, "merge_method", &c->method) ||
        (base && read_model(t, base, "base_model", &c->base)) ||
        (name && yaml_tree_read_string(t, name, "name", &c->name)) ||
        (chat && yaml_tree_read_string(t, chat, "chat_template", &c->chat_template)) ||
        read_dtype(t, map, "dtype", &c->dtype) || read_dtype(t, map, "out_dtype", &c->out_dtype) ||
        read_tokenizer(t, map, c) || read_settings(t, map, &c->parameters))
        return -1;
    if (modules && (yaml_tree_find_key(t, map, "models") || yaml_tree_find_key(t, map, "slices")))
        return yaml_tree_error(t, modules, "exactly one of models, slices and modules is needed");
    return modules ? read_modules(t, modules, c) : read_parts(t, map, c);
}

/* ---- the file ------------------------------------------------------------------------------- */

/* All of the file's bytes, which the caller frees. */
static unsigned char *read_file(const char *path, size_t *size, struct error *e)
{
    bool is_input = strcmp(path, "-") == 0;
    FILE *f = is_input ? stdin : fopen(path, "re");
    if (!f) {
        error_set(e, "cannot open %s: %s", path, strerror(errno));
        return NULL;
    }
    unsigned char *bytes = mem_alloc(FILE_MAX + 1, 1);
    *size = fread(bytes, 1, FILE_MAX + 1, f);
    int failed = ferror(f) ? errno : 0;
    if (!is_input)
        fclose(f);
    if (failed)
        error_set(e, "cannot read %s: %s", path, strerror(failed));
    else if (*size > FILE_MAX)
        error_set(e, "%s has more than 16 MiB: no configuration", path);
    else
        return bytes;
    free(bytes);
    return NULL;
}

static int add_document(struct merge_config_file *f, struct yaml_tree *t, const yaml_node_t *root)
{
    if (f->n_documents == DOCUMENTS_MAX)
        return yaml_tree_error(t, root, "more than %d documents", DOCUMENTS_MAX);
    struct merge_config *all = arena_alloc(t->a, f->n_documents + 1, sizeof *all);
    if (f->n_documents)
        memcpy(all, f->documents, f->n_documents * sizeof *all);
    f->documents = all;
    return read_document(t, root, &all[f->n_documents++]);
}

static int parse_error(const yaml_parser_t *parser, const char *path, struct error *e)
{
    return error_set(e, "%.200s, line %zu: not YAML: %s", path, parser->problem_mark.line + 1,
                     parser->problem ? parser->problem : "it cannot be read");
}

/* Refuses what is nested too deep before it is loaded: the loader's work grows with the square of
 * the depth. */
static int check_depth(const struct yaml_tree *t, const unsigned char *bytes, size_t size)
{
    yaml_parser_t parser;
    yaml_event_t event;
    int depth = 0, failed = 0;
    bool ended = false;
    yaml_parser_initialize(&parser);
    yaml_parser_set_input_string(&parser, bytes, size);
    while (!ended && !failed && yaml_parser_parse(&parser, &event)) {
        yaml_event_type_t type = event.type;
        depth += type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT;
        depth -= type == YAML_SEQUENCE_END_EVENT || type == YAML_MAPPING_END_EVENT;
        ended = type == YAML_STREAM_END_EVENT;
        if (depth > YAML_TREE_MAX_DEPTH)
            failed = error_set(t->e, "%.200s, line %zu: lists and maps are nested too deep",
                               t->path, event.start_mark.line + 1);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser); /* what else is wrong shows when it is loaded */
    return failed;
}

/* Documents until the end of the stream; empty ones count for nothing. */
static int read_documents(struct merge_config_file *f, struct yaml_tree *t, yaml_parser_t *parser)
{
    for (bool more = true; more;) {
        yaml_document_t doc;
        if (!yaml_parser_load(parser, &doc))
            return parse_error(parser, t->path, t->e);
        const yaml_node_t *root = yaml_document_get_root_node(&doc);
        t->doc = &doc;
        more = root != NULL;
        int failed = more && !yaml_tree_is_null(root) ? add_document(f, t, root) : 0;
        yaml_document_delete(&doc);
        if (failed)
            return -1;
    }
    return f->n_documents ? 0 : error_set(t->e, "%s holds no configuration", t->path);
}

int merge_config_read(struct merge_config_file *f, const char *path, const char *tool,
                      struct arena *a, struct error *e)
{
    yaml_parser_t parser;
    size_t size;
    unsigned char *bytes = read_file(path, &size, e);
    if (!bytes)
        return -1;
    *f = (struct merge_config_file){.path = strcmp(path, "-") == 0 ? "standard input" : path};
    struct yaml_tree t = {.path = f->path, .tool = tool, .a = a, .e = e};
    yaml_parser_initialize(&parser);
    yaml_parser_set_input_string(&parser, bytes, size);
    int failed = check_depth(&t, bytes, size) || read_documents(f, &t, &parser) ? -1 : 0;
    yaml_parser_delete(&parser);
    free(bytes);
    return failed;
}
