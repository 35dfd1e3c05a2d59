#include "config.h"

#include "number.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define FILE_MAX      ((size_t)16 << 20) /* bytes */
#define DOCUMENTS_MAX 256
#define KEYS_MAX      256 /* of one map */
#define DEPTH_MAX     40
#define NODES_MAX     1000000 /* visited, aliases followed: what a few lines can grow to */

/* The walk through one document. */
struct walk {
    const char *path, *tool;
    yaml_document_t *doc;
    size_t visited;
    struct arena *a;
    struct error *e;
};

static size_t line_of(const yaml_node_t *node)
{
    return node->start_mark.line + 1;
}

/* Always -1. */
static int refuse(const struct walk *w, const yaml_node_t *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int refuse(const struct walk *w, const yaml_node_t *node, const char *format, ...)
{
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_set(w->e, "%.200s, line %zu: %s", w->path, line_of(node), text);
}

/* ---- scalars -------------------------------------------------------------------------------- */

/* YAML 1.1 gives plain words a meaning that quoted ones have not. */
static bool is_plain(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static const char *scalar(const yaml_node_t *node)
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

static bool is_null(const yaml_node_t *node)
{
    static const char *const null[] = {"null", NULL};
    return is_plain(node) &&
           (!*scalar(node) || strcmp(scalar(node), "~") == 0 || is_word(scalar(node), null));
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
        if (!isdigit((unsigned char)*part) || number_read(part, &value) || (!first && value >= 60))
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
    return !*text && number_read(plain, x) == 0;
}

static int read_number(const struct walk *w, const yaml_node_t *node, const char *what, double *x)
{
    if (node->type != YAML_SCALAR_NODE || is_null(node))
        return refuse(w, node, "%s has no number", what);
    if ((is_plain(node) && read_plain(scalar(node), x)) || read_decimal(scalar(node), x))
        return 0;
    return refuse(w, node, "%s: \"%.100s\" is not a number", what, scalar(node));
}

static int read_text(const struct walk *w, const yaml_node_t *node, const char *what,
                     const char **text)
{
    if (is_null(node))
        return 0;
    if (node->type != YAML_SCALAR_NODE)
        return refuse(w, node, "%s must be a text", what);
    if (strlen(scalar(node)) != node->data.scalar.length)
        return refuse(w, node, "%s has a zero byte in it", what);
    *text = arena_text(w->a, scalar(node), node->data.scalar.length);
    return 0;
}

/* ---- maps and lists ------------------------------------------------------------------------- */

static yaml_node_t *node_at(const struct walk *w, int index)
{
    return yaml_document_get_node(w->doc, index);
}

/* Counts the visits to nodes, for an alias may stand in what another one repeats, and refuses
 * tags of a program's own. */
static int enter(struct walk *w, const yaml_node_t *node, int depth)
{
    static const char standard[] = "tag:yaml.org,2002:";
    if (depth > DEPTH_MAX)
        return refuse(w, node, "lists and maps are nested too deep");
    if (++w->visited > NODES_MAX)
        return refuse(w, node, "the aliases repeat too much");
    if (node->tag && strncmp((const char *)node->tag, standard, sizeof standard - 1) != 0)
        return refuse(w, node, "the tag %.60s has no meaning here", node->tag);
    if (node->type == YAML_SEQUENCE_NODE)
        for (yaml_node_item_t *i = node->data.sequence.items.start;
             i < node->data.sequence.items.top; i++)
            if (enter(w, node_at(w, *i), depth + 1))
                return -1;
    if (node->type != YAML_MAPPING_NODE)
        return 0;
    yaml_node_pair_t *start = node->data.mapping.pairs.start, *top = node->data.mapping.pairs.top;
    if (top - start > KEYS_MAX)
        return refuse(w, node, "a map has more than %d keys", KEYS_MAX);
    for (yaml_node_pair_t *p = start; p < top; p++)
        if (enter(w, node_at(w, p->key), depth + 1) || enter(w, node_at(w, p->value), depth + 1))
            return -1;
    return 0;
}

static bool is_merge(const yaml_node_t *key)
{
    return is_plain(key) && strcmp(scalar(key), "<<") == 0;
}

/* The value of a key: of several the last one, then those of a << that the map holds. */
static const yaml_node_t *find(const struct walk *w, const yaml_node_t *map, const char *key)
{
    const yaml_node_t *found = NULL;
    yaml_node_pair_t *start = map->data.mapping.pairs.start;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.top; !found && p-- > start;) {
        const yaml_node_t *k = node_at(w, p->key);
        if (k->type == YAML_SCALAR_NODE && !is_merge(k) && strcmp(scalar(k), key) == 0)
            found = node_at(w, p->value);
    }
    for (yaml_node_pair_t *p = map->data.mapping.pairs.top; !found && p-- > start;) {
        const yaml_node_t *value = node_at(w, p->value);
        if (!is_merge(node_at(w, p->key)))
            continue;
        if (value->type == YAML_MAPPING_NODE)
            found = find(w, value, key);
        for (yaml_node_item_t *i = value->data.sequence.items.start;
             value->type == YAML_SEQUENCE_NODE && !found && i < value->data.sequence.items.top; i++)
            if (node_at(w, *i)->type == YAML_MAPPING_NODE)
                found = find(w, node_at(w, *i), key);
    }
    return found && !is_null(found) ? found : NULL;
}

/* Keys that stand twice, and those that look like a known one, get a warning. */
static void look_at_keys(const struct walk *w, const yaml_node_t *map, size_t n,
                         const char *const *known)
{
    yaml_node_pair_t *start = map->data.mapping.pairs.start;
    for (yaml_node_pair_t *p = start; p < map->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = node_at(w, p->key);
        if (key->type != YAML_SCALAR_NODE || is_merge(key))
            continue;
        for (yaml_node_pair_t *q = start; q < p; q++)
            if (node_at(w, q->key)->type == YAML_SCALAR_NODE &&
                strcmp(scalar(node_at(w, q->key)), scalar(key)) == 0)
                fprintf(stderr,
                        "%s: warning: %s, line %zu: %s stands here twice; the last counts\n",
                        w->tool, w->path, line_of(key), scalar(key));
        bool is_known = n == 0;
        for (size_t i = 0; i < n; i++)
            is_known |= strcmp(scalar(key), known[i]) == 0;
        const char *near = is_known ? NULL : config_nearest(scalar(key), n, known);
        if (near)
            fprintf(stderr, "%s: warning: %s, line %zu: %s is ignored (is %s meant?)\n", w->tool,
                    w->path, line_of(key), scalar(key), near);
    }
}

static int need(const struct walk *w, const yaml_node_t *node, yaml_node_type_t type,
                const char *what)
{
    if (node->type == type)
        return 0;
    return refuse(w, node, "%s must be a %s", what, type == YAML_MAPPING_NODE ? "map" : "list");
}

static size_t list_length(const yaml_node_t *list)
{
    return (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
}

static const yaml_node_t *list_item(const struct walk *w, const yaml_node_t *list, size_t i)
{
    return node_at(w, list->data.sequence.items.start[i]);
}

/* ---- parameters ----------------------------------------------------------------------------- */

/* A number or a list of them. */
static int read_values(const struct walk *w, const yaml_node_t *node, const char *what,
                       struct condition *c)
{
    c->n = node->type == YAML_SEQUENCE_NODE ? list_length(node) : 1;
    double *values = arena_alloc(w->a, c->n, sizeof *values);
    c->values = values;
    if (c->n == 0)
        return refuse(w, node, "%s is an empty list", what);
    for (size_t i = 0; i < c->n; i++) {
        const yaml_node_t *item = node->type == YAML_SEQUENCE_NODE ? list_item(w, node, i) : node;
        if (read_number(w, item, what, &values[i]))
            return -1;
    }
    return 0;
}

/* {filter: TEXT, value: NUMBER or LIST} */
static int read_condition(const struct walk *w, const yaml_node_t *map, const char *what,
                          struct condition *c)
{
    static const char *const known[] = {"filter", "value"};
    if (need(w, map, YAML_MAPPING_NODE, what))
        return -1;
    look_at_keys(w, map, 2, known);
    const yaml_node_t *filter = find(w, map, "filter"), *value = find(w, map, "value");
    if (!value)
        return refuse(w, map, "%s: value is missing", what);
    if (filter && read_text(w, filter, "filter", &c->filter))
        return -1;
    if (c->filter && (!*c->filter || strcmp(c->filter, "*") == 0))
        c->filter = NULL;
    return read_values(w, value, what, c);
}

/* A text, or a list of texts, as they stand. */
static int read_texts(const struct walk *w, const yaml_node_t *node, struct setting *s)
{
    bool is_list = node->type == YAML_SEQUENCE_NODE;
    s->n_texts = is_list ? list_length(node) : 1;
    s->texts = arena_alloc(w->a, s->n_texts, sizeof *s->texts);
    for (size_t i = 0; i < s->n_texts; i++)
        if (read_text(w, is_list ? list_item(w, node, i) : node, s->name, &s->texts[i]) ||
            !s->texts[i])
            return -1;
    return 0;
}

/* Numbers or texts. */
static int read_plain_setting(const struct walk *w, const yaml_node_t *node, struct setting *s,
                              struct condition *c)
{
    int failed = read_values(w, node, s->name, c);
    const char *wrong = failed ? arena_text(w->a, w->e->text, strlen(w->e->text)) : NULL;
    if (read_texts(w, node, s) == 0) {
        s->wrong = wrong;
        s->n = failed ? 0 : 1;
        return 0;
    }
    s->n_texts = 0;
    return failed ? error_set(w->e, "%s", wrong) : 0;
}

static int read_setting(const struct walk *w, const yaml_node_t *node, struct setting *s)
{
    bool is_list = node->type == YAML_SEQUENCE_NODE && list_length(node) > 0 &&
                   list_item(w, node, 0)->type == YAML_MAPPING_NODE;
    if (node->type == YAML_MAPPING_NODE)
        return refuse(w, node, "%s: a filter and its value must stand in a list", s->name);
    s->n = is_list ? list_length(node) : 1;
    struct condition *conditions = arena_alloc(w->a, s->n, sizeof *conditions);
    s->conditions = conditions;
    if (!is_list)
        return read_plain_setting(w, node, s, conditions);
    for (size_t i = 0; i < s->n; i++)
        if (read_condition(w, list_item(w, node, i), s->name, &conditions[i]))
            return -1;
    return 0;
}

static int add_settings(const struct walk *w, const yaml_node_t *map, struct settings *out);

/* What a << stands for: a map, or a list of them. */
static int add_merged(const struct walk *w, const yaml_node_t *value, struct settings *out)
{
    if (value->type != YAML_SEQUENCE_NODE)
        return add_settings(w, value, out);
    for (size_t i = 0; i < list_length(value); i++)
        if (add_settings(w, list_item(w, value, i), out))
            return -1;
    return 0;
}

static int add_setting(const struct walk *w, const yaml_node_t *map, const yaml_node_pair_t *p,
                       struct settings *out)
{
    const yaml_node_t *key = node_at(w, p->key), *value = node_at(w, p->value);
    if (key->type != YAML_SCALAR_NODE)
        return refuse(w, key, "the name of a parameter must be a text");
    struct setting s = {.line = line_of(key),
                        .name = arena_text(w->a, scalar(key), strlen(scalar(key)))};
    if (is_null(value))
        return refuse(w, key, "%.100s has no value", s.name);
    if (find(w, map, s.name) != value || config_setting(out, s.name))
        return 0; /* another one counts */
    if (read_setting(w, value, &s))
        return -1;
    struct setting *all = arena_alloc(w->a, out->n + 1, sizeof *all);
    if (out->n)
        memcpy(all, out->settings, out->n * sizeof *all);
    all[out->n++] = s;
    out->settings = all;
    return 0;
}

/* Adds what a map of parameters says: its own first, then those of a <<, which count less. */
static int add_settings(const struct walk *w, const yaml_node_t *map, struct settings *out)
{
    if (need(w, map, YAML_MAPPING_NODE, "parameters"))
        return -1;
    look_at_keys(w, map, 0, NULL);
    yaml_node_pair_t *start = map->data.mapping.pairs.start, *top = map->data.mapping.pairs.top;
    for (yaml_node_pair_t *p = start; p < top; p++)
        if (!is_merge(node_at(w, p->key)) && add_setting(w, map, p, out))
            return -1;
    for (yaml_node_pair_t *p = start; p < top; p++)
        if (is_merge(node_at(w, p->key)) && add_merged(w, node_at(w, p->value), out))
            return -1;
    return 0;
}

/* The parameters of a map that may have some. */
static int read_settings(const struct walk *w, const yaml_node_t *map, struct settings *out)
{
    const yaml_node_t *parameters = find(w, map, "parameters");
    return parameters ? add_settings(w, parameters, out) : 0;
}

const struct setting *config_setting(const struct settings *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->settings[i].name, name) == 0)
            return &s->settings[i];
    return NULL;
}

/* ---- models --------------------------------------------------------------------------------- */

/* "path", or mergekit's long forms {path: P} and {model: {path: P}}. */
static int read_model(const struct walk *w, const yaml_node_t *node, const char *what,
                      const char **model)
{
    const yaml_node_t *inner = NULL;
    if (node->type == YAML_MAPPING_NODE) {
        if (find(w, node, "lora"))
            return refuse(w, node, "%s: merging a LoRA is not supported", what);
        if (find(w, node, "revision"))
            return refuse(w, node, "%s: a revision is not supported; give the folder", what);
        inner = find(w, node, "model");
        inner = inner ? inner : find(w, node, "path");
        if (!inner)
            return refuse(w, node, "%s must be the path or name of a model", what);
        return read_model(w, inner, what, model);
    }
    if (read_text(w, node, what, model))
        return -1;
    if (!*model || !**model)
        return refuse(w, node, "%s must be the path or name of a model", what);
    if (strchr(*model, '+'))
        return refuse(w, node, "%s: merging a LoRA (%.200s) is not supported", what, *model);
    if (strchr(*model, '@'))
        return refuse(w, node, "%s: a revision (%.200s) is not supported; give the folder", what,
                      *model);
    return 0;
}

static int read_layer(const struct walk *w, const yaml_node_t *node, long *layer)
{
    double x;
    if (read_number(w, node, "layer_range", &x))
        return -1;
    if (x < 0 || x > 1000000 || x != floor(x))
        return refuse(w, node, "layer_range takes whole numbers from 0 on");
    *layer = (long)x;
    return 0;
}

static int read_range(const struct walk *w, const yaml_node_t *node, struct config_source *s)
{
    if (need(w, node, YAML_SEQUENCE_NODE, "layer_range"))
        return -1;
    if (list_length(node) != 2)
        return refuse(w, node, "layer_range takes two numbers: [from, to)");
    if (read_layer(w, list_item(w, node, 0), &s->from) ||
        read_layer(w, list_item(w, node, 1), &s->to))
        return -1;
    if (s->from >= s->to)
        return refuse(w, node, "layer_range [%ld, %ld] holds no layer", s->from, s->to);
    s->has_range = true;
    return 0;
}

static int read_source(const struct walk *w, const yaml_node_t *node, bool in_slice,
                       struct config_source *s)
{
    static const char *const known[] = {"model", "parameters", "layer_range"};
    if (need(w, node, YAML_MAPPING_NODE, in_slice ? "a source" : "a model"))
        return -1;
    look_at_keys(w, node, in_slice ? 3 : 2, known);
    const yaml_node_t *model = find(w, node, "model"), *range = find(w, node, "layer_range");
    s->line = line_of(node);
    if (!model)
        return refuse(w, node, "model is missing");
    if (in_slice && !range)
        return refuse(w, node, "layer_range is missing");
    if (in_slice && read_range(w, range, s))
        return -1;
    if (!in_slice && range)
        return refuse(w, range, "layer_range belongs to the sources of slices, not to models");
    return read_model(w, model, "model", &s->model) || read_settings(w, node, &s->parameters) ? -1
                                                                                              : 0;
}

static int read_sources(const struct walk *w, const yaml_node_t *list, bool in_slice,
                        struct config_slice *slice)
{
    const char *what = in_slice ? "sources" : "models";
    if (need(w, list, YAML_SEQUENCE_NODE, what))
        return -1;
    slice->n = list_length(list);
    slice->line = line_of(list);
    slice->sources = arena_alloc(w->a, slice->n, sizeof *slice->sources);
    if (slice->n == 0)
        return refuse(w, list, "%s is empty", what);
    for (size_t i = 0; i < slice->n; i++)
        if (read_source(w, list_item(w, list, i), in_slice, &slice->sources[i]))
            return -1;
    for (size_t i = 1; i < slice->n && in_slice; i++) {
        const struct config_source *a = &slice->sources[0], *b = &slice->sources[i];
        if (a->to - a->from != b->to - b->from)
            return refuse(w, list, "the sources of a slice have %ld and %ld layers",
                          a->to - a->from, b->to - b->from);
    }
    return 0;
}

static int read_slice(const struct walk *w, const yaml_node_t *node, struct config_slice *s)
{
    static const char *const known[] = {"sources", "base_model", "parameters", "residual_weight"};
    if (need(w, node, YAML_MAPPING_NODE, "a slice"))
        return -1;
    look_at_keys(w, node, 4, known);
    const yaml_node_t *sources = find(w, node, "sources"), *base = find(w, node, "base_model");
    if (!sources)
        return refuse(w, node, "sources is missing");
    if (read_sources(w, sources, true, s) || (base && read_model(w, base, "base_model", &s->base)))
        return -1;
    return read_settings(w, node, &s->parameters);
}

/* ---- documents ------------------------------------------------------------------------------ */

/* models or slices of the document or of its one module */
static int read_parts(const struct walk *w, const yaml_node_t *map, struct config *c)
{
    const yaml_node_t *models = find(w, map, "models"), *slices = find(w, map, "slices");
    if (!models == !slices)
        return refuse(w, map, "exactly one of models, slices and modules is needed");
    c->has_slices = slices != NULL;
    c->n = 1;
    if (slices) {
        if (need(w, slices, YAML_SEQUENCE_NODE, "slices"))
            return -1;
        c->n = list_length(slices);
        if (c->n == 0)
            return refuse(w, slices, "slices is empty");
    }
    c->slices = arena_alloc(w->a, c->n, sizeof *c->slices);
    if (models)
        return read_sources(w, models, false, c->slices);
    for (size_t i = 0; i < c->n; i++)
        if (read_slice(w, list_item(w, slices, i), &c->slices[i]))
            return -1;
    return 0;
}

static int read_modules(const struct walk *w, const yaml_node_t *modules, struct config *c)
{
    static const char *const known[] = {"models", "slices", "parameters"};
    if (need(w, modules, YAML_MAPPING_NODE, "modules"))
        return -1;
    for (yaml_node_pair_t *p = modules->data.mapping.pairs.start;
         p < modules->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = node_at(w, p->key);
        if (key->type != YAML_SCALAR_NODE || strcmp(scalar(key), "default") != 0)
            return refuse(w, key, "the module %.60s is not supported: only default is",
                          key->type == YAML_SCALAR_NODE ? scalar(key) : "?");
    }
    const yaml_node_t *module = find(w, modules, "default");
    if (!module)
        return refuse(w, modules, "modules has no module");
    if (need(w, module, YAML_MAPPING_NODE, "a module"))
        return -1;
    look_at_keys(w, module, 3, known);
    return read_parts(w, module, c) || read_settings(w, module, &c->module) ? -1 : 0;
}

static int read_dtype(const struct walk *w, const yaml_node_t *map, const char *key,
                      enum dtype *dtype)
{
    const yaml_node_t *node = find(w, map, key);
    const char *text = "";
    if (!node)
        return 0;
    if (read_text(w, node, key, &text))
        return -1;
    *dtype = dtype_from_user(text);
    return *dtype != DTYPE_NONE
               ? 0
               : refuse(w, node, "%s: \"%.60s\" is none of float32, bfloat16, float16", key, text);
}

/* tokenizer_source: base, or a model; tokenizer: {source: the same} */
static int read_tokenizer(const struct walk *w, const yaml_node_t *map, struct config *c)
{
    const yaml_node_t *source = find(w, map, "tokenizer_source");
    const yaml_node_t *tokenizer = find(w, map, "tokenizer");
    if (source && tokenizer)
        return refuse(w, tokenizer, "only one of tokenizer and tokenizer_source can be given");
    if (tokenizer) {
        if (need(w, tokenizer, YAML_MAPPING_NODE, "tokenizer"))
            return -1;
        const yaml_node_t *tokens = find(w, tokenizer, "tokens");
        const yaml_node_t *pad = find(w, tokenizer, "pad_to_multiple_of");
        if (tokens || pad)
            return refuse(w, tokens ? tokens : pad, "tokenizer: %s is not supported",
                          tokens ? "tokens" : "pad_to_multiple_of");
        source = find(w, tokenizer, "source");
        if (!source) /* mergekit's default */
            return refuse(w, tokenizer,
                          "tokenizer: the union of vocabularies is not supported; "
                          "source must be base or a model");
    }
    if (!source)
        return 0;
    c->tokenizer_line = line_of(source);
    if (read_model(w, source, "tokenizer_source", &c->tokenizer))
        return -1;
    if (strcmp(c->tokenizer, "union") == 0)
        return refuse(w, source,
                      "tokenizer_source: the union of vocabularies is not supported; it "
                      "must be base or a model");
    return 0;
}

static int read_document(struct walk *w, const yaml_node_t *map, struct config *c)
{
    static const char *const known[] = {
        "models", "slices",    "modules",          "merge_method", "base_model",    "parameters",
        "dtype",  "out_dtype", "tokenizer_source", "tokenizer",    "chat_template", "name"};
    if (enter(w, map, 0) || need(w, map, YAML_MAPPING_NODE, "a configuration"))
        return -1;
    look_at_keys(w, map, sizeof known / sizeof *known, known);
    const yaml_node_t *method = find(w, map, "merge_method"), *base = find(w, map, "base_model");
    const yaml_node_t *modules = find(w, map, "modules"), *name = find(w, map, "name");
    const yaml_node_t *chat = find(w, map, "chat_template");
    c->line = line_of(map);
    if (!method)
        return refuse(w, map, "merge_method is missing");
    c->method_line = line_of(method);
    c->base_line = base ? line_of(base) : 0;
    c->chat_line = chat ? line_of(chat) : 0;
    if (read_text(w, method, "merge_method", &c->method) ||
        (base && read_model(w, base, "base_model", &c->base)) ||
        (name && read_text(w, name, "name", &c->name)) ||
        (chat && read_text(w, chat, "chat_template", &c->chat_template)) ||
        read_dtype(w, map, "dtype", &c->dtype) || read_dtype(w, map, "out_dtype", &c->out_dtype) ||
        read_tokenizer(w, map, c) || read_settings(w, map, &c->parameters))
        return -1;
    if (modules && (find(w, map, "models") || find(w, map, "slices")))
        return refuse(w, modules, "exactly one of models, slices and modules is needed");
    return modules ? read_modules(w, modules, c) : read_parts(w, map, c);
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

static int add_document(struct config_file *f, struct walk *w, const yaml_node_t *root)
{
    if (f->n == DOCUMENTS_MAX)
        return refuse(w, root, "more than %d documents", DOCUMENTS_MAX);
    struct config *all = arena_alloc(w->a, f->n + 1, sizeof *all);
    if (f->n)
        memcpy(all, f->documents, f->n * sizeof *all);
    f->documents = all;
    return read_document(w, root, &all[f->n++]);
}

static int parse_error(const yaml_parser_t *parser, const char *path, struct error *e)
{
    return error_set(e, "%.200s, line %zu: not YAML: %s", path, parser->problem_mark.line + 1,
                     parser->problem ? parser->problem : "it cannot be read");
}

/* Refuses what is nested too deep before it is loaded: the loader's work grows with the square of
 * the depth. */
static int check_depth(const struct walk *w, const unsigned char *bytes, size_t size)
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
        if (depth > DEPTH_MAX)
            failed = error_set(w->e, "%.200s, line %zu: lists and maps are nested too deep",
                               w->path, event.start_mark.line + 1);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser); /* what else is wrong shows when it is loaded */
    return failed;
}

/* Documents until the end of the stream; empty ones count for nothing. */
static int read_documents(struct config_file *f, struct walk *w, yaml_parser_t *parser)
{
    for (bool more = true; more;) {
        yaml_document_t doc;
        if (!yaml_parser_load(parser, &doc))
            return parse_error(parser, w->path, w->e);
        const yaml_node_t *root = yaml_document_get_root_node(&doc);
        w->doc = &doc;
        more = root != NULL;
        int failed = more && !is_null(root) ? add_document(f, w, root) : 0;
        yaml_document_delete(&doc);
        if (failed)
            return -1;
    }
    return f->n ? 0 : error_set(w->e, "%s holds no configuration", w->path);
}

int config_read(struct config_file *f, const char *path, const char *tool, struct arena *a,
                struct error *e)
{
    yaml_parser_t parser;
    size_t size;
    unsigned char *bytes = read_file(path, &size, e);
    if (!bytes)
        return -1;
    *f = (struct config_file){.path = strcmp(path, "-") == 0 ? "standard input" : path};
    struct walk w = {.path = f->path, .tool = tool, .a = a, .e = e};
    yaml_parser_initialize(&parser);
    yaml_parser_set_input_string(&parser, bytes, size);
    int failed = check_depth(&w, bytes, size) || read_documents(f, &w, &parser) ? -1 : 0;
    yaml_parser_delete(&parser);
    free(bytes);
    return failed;
}

/* ---- near words ----------------------------------------------------------------------------- */

#define WORD_MAX 40

/* How many letters must be put in, taken out, changed, or exchanged with their neighbour. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][WORD_MAX + 1], n = strlen(a), m = strlen(b);
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    if (n > WORD_MAX || m > WORD_MAX)
        return WORD_MAX;
    for (size_t j = 0; j <= m; j++)
        last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t d = last[j - 1] + (a[i - 1] != b[j - 1]);
            d = last[j] + 1 < d ? last[j] + 1 : d;
            d = now[j - 1] + 1 < d ? now[j - 1] + 1 : d;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d = before[j - 2] + 1 < d ? before[j - 2] + 1 : d;
            now[j] = d;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[m];
}

const char *config_nearest(const char *word, size_t n, const char *const *words)
{
    size_t nearest = strlen(word) / 3 + 1;
    const char *found = NULL;
    nearest = nearest > 3 ? 4 : nearest + 1;
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(word, words[i]);
        if (d < nearest) {
            nearest = d;
            found = words[i];
        }
    }
    return found;
}
