#include "input_models.h"

#include "model_path.h"
#include "model_files.h"
#include "model_name.h"

#include <stdlib.h>
#include <string.h>

#define MAX_NAME_DEPTH 40 /* components of a path in a model's name */

/* ---- paths ----------------------------------------------------------------------------------- */

/* The path without leading "./" and trailing '/', so that both spellings are the same model. */
static const char *normalize_path(const char *model, struct arena *a)
{
    size_t n = strlen(model);
    while (n > 1 && model[n - 1] == '/')
        n--;
    while (n > 2 && model[0] == '.' && model[1] == '/') {
        size_t more = strspn(model + 1, "/") + 1;
        if (more >= n)
            break;
        model += more;
        n -= more;
    }
    return arena_copy_text_n(a, model, n);
}

/* The key of `paths`; a path cannot contain a line break and a number after it by chance. */
static const char *make_key(const char *path, size_t occurrence, struct arena *a)
{
    return occurrence ? arena_printf(a, "%s\n%zu", path, occurrence) : path;
}

static struct input_model *find_occurrence(const struct input_models *all, const char *path,
                                           size_t occurrence, struct arena *a)
{
    long i = name_index_find(&all->paths, make_key(path, occurrence, a));
    return i < 0 ? NULL : &all->items[i];
}

const struct input_model *input_models_find(const struct input_models *all, const char *model,
                                            struct arena *a)
{
    return find_occurrence(all, normalize_path(model, a), 0, a);
}

/* ---- sources --------------------------------------------------------------------------------- */

const char *input_models_base_of_slice(const struct merge_config *c, const struct config_slice *s)
{
    return s->base ? s->base : c->base;
}

/* Finds the slice's base among its sources, and counts how often they list each model. */
static void number_sources(const struct merge_config *c, const struct config_slice *s,
                           struct arena *a)
{
    const char *base = input_models_base_of_slice(c, s);
    size_t *count = arena_alloc(a, s->n_sources + 1, sizeof *count), n = 0;
    struct name_index paths = {0};
    bool found = false;
    if (base)
        count[name_index_add(&paths, normalize_path(base, a), n++, a)] = 1;
    for (size_t i = 0; i < s->n_sources; i++) {
        struct config_model_entry *source = &s->sources[i];
        source->is_base = base && !found && strcmp(source->model, base) == 0;
        source->occurrence = 0;
        found |= source->is_base;
        if (source->is_base)
            continue;
        size_t path = name_index_add(&paths, normalize_path(source->model, a), n, a);
        n += path == n;
        source->occurrence = count[path]++;
    }
}

const struct input_model *input_models_find_source(const struct input_models *all,
                                                   const struct config_model_entry *source,
                                                   struct arena *a)
{
    return find_occurrence(all, normalize_path(source->model, a), source->occurrence, a);
}

/* ---- the list -------------------------------------------------------------------------------- */

/* The document whose result a path refers to: one with that name, in a file with several. */
static const struct merge_config *find_document_by_name(const struct merge_config_file *f,
                                                        const char *path)
{
    for (size_t i = 0; f->n_documents > 1 && i < f->n_documents; i++)
        if (f->documents[i].name && strcmp(f->documents[i].name, path) == 0)
            return &f->documents[i];
    return NULL;
}

/* Adds a model, unless it is NULL or listed already. */
static void add_model_if_new(struct input_models *all, const struct merge_config_file *f,
                             const char *model, size_t occurrence, struct arena *a)
{
    const char *path = model ? normalize_path(model, a) : NULL;
    if (!path || find_occurrence(all, path, occurrence, a))
        return;
    all->items = arena_grow(a, all->items, all->n_inputs, &all->capacity, sizeof *all->items);
    name_index_add(&all->paths, make_key(path, occurrence, a), all->n_inputs, a);
    all->items[all->n_inputs++] = (struct input_model){
        .path = path, .occurrence = occurrence, .document = find_document_by_name(f, path)};
}

static void add_models_of_slice(struct input_models *all, const struct merge_config_file *f,
                                const struct merge_config *c, const struct config_slice *s,
                                struct arena *a)
{
    number_sources(c, s, a);
    add_model_if_new(all, f, input_models_base_of_slice(c, s), 0, a);
    for (size_t i = 0; i < s->n_sources; i++)
        add_model_if_new(all, f, s->sources[i].model, s->sources[i].occurrence, a);
}

/* ---- names ---------------------------------------------------------------------------------- */

/* The path without "/model.safetensors" or the like at its end. */
static char *copy_folder_path(const char *path, struct arena *a)
{
    const char *slash = strrchr(path, '/');
    bool is_file = slash && slash > path && model_files_is_default_weights_name(slash + 1);
    return arena_copy_text_n(a, path, is_file ? (size_t)(slash - path) : strlen(path));
}

/* The last `depth` components of a path, joined by dots. */
static const char *make_name_from_path(const char *path, size_t depth, struct arena *a)
{
    char *last = model_name_from_path(path);
    const char *name = arena_copy_text(a, last);
    free(last);
    char *rest = copy_folder_path(path, a);
    for (char *slash = strrchr(rest, '/'); slash && depth > 1; slash = strrchr(rest, '/')) {
        *slash = '\0';
        const char *folder = strrchr(rest, '/') ? strrchr(rest, '/') + 1 : rest;
        if (!*folder || strcmp(folder, ".") == 0 || strcmp(folder, "..") == 0)
            continue;
        name = arena_printf(a, "%s.%s", folder, name);
        depth--;
    }
    return name;
}

/* Finds the inputs whose names are not unique; the first one, or -1. */
static long find_duplicates(const struct input_models *all, bool *duplicate)
{
    struct arena a = {0};
    struct name_index names = {0};
    long first = -1;
    memset(duplicate, 0, all->n_inputs * sizeof *duplicate);
    for (size_t i = 0; i < all->n_inputs; i++) {
        size_t same =
            all->items[i].occurrence ? i : name_index_add(&names, all->items[i].name, i, &a);
        if (same != i)
            duplicate[same] = duplicate[i] = true;
    }
    for (size_t i = all->n_inputs; i-- > 0;)
        first = duplicate[i] ? (long)i : first;
    arena_free(&a);
    return first;
}

/* Names all inputs by their paths, with more and more components where names are equal. Returns the
 * first input whose name stays equal to another one's; -1 if there is none. */
static long name_all_models_from_paths(struct input_models *all, const char *const *paths,
                                       struct arena *a)
{
    bool *duplicate = arena_alloc(a, all->n_inputs, sizeof *duplicate);
    for (size_t i = 0; i < all->n_inputs; i++)
        all->items[i].name = make_name_from_path(paths[i], 1, a);
    long first = find_duplicates(all, duplicate);
    for (size_t depth = 2; first >= 0 && depth < MAX_NAME_DEPTH; depth++) {
        for (size_t i = 0; i < all->n_inputs; i++)
            if (duplicate[i] && !all->items[i].document)
                all->items[i].name = make_name_from_path(paths[i], depth, a);
        first = find_duplicates(all, duplicate);
    }
    return first;
}

/* Replaces paths by absolute ones, which differ where "../a/x" and "a/x" do not. */
static void make_paths_absolute(const struct input_models *all, const char **paths, struct arena *a)
{
    for (size_t i = 0; i < all->n_inputs; i++) {
        char *absolute = all->items[i].document ? NULL : mem_real_path(paths[i]);
        if (absolute)
            paths[i] = arena_copy_text(a, absolute);
        free(absolute);
    }
}

/* "math.2" is the second time that a slice lists "math". */
static void name_repeated_models(struct input_models *all, struct arena *a)
{
    struct name_index names = {0};
    for (size_t i = 0; i < all->n_inputs; i++)
        if (!all->items[i].occurrence)
            name_index_add(&names, all->items[i].name, i, a);
    for (size_t i = 0; i < all->n_inputs; i++) {
        struct input_model *m = &all->items[i];
        const char *first = m->occurrence ? find_occurrence(all, m->path, 0, a)->name : NULL;
        for (size_t n = m->occurrence + 1, index = i + 1; first && index != i; n++) {
            m->name = arena_printf(a, "%s.%zu", first, n);
            index = name_index_add(&names, m->name, i, a);
        }
    }
}

/* Gives the first occurrences of all inputs different names. */
static int assign_unique_names(struct input_models *all, const char *file, struct arena *a,
                               struct error *e)
{
    const char **paths = arena_alloc(a, all->n_inputs, sizeof *paths);
    for (size_t i = 0; i < all->n_inputs; i++)
        paths[i] = all->items[i].path;
    if (name_all_models_from_paths(all, paths, a) < 0)
        return 0;
    make_paths_absolute(all, paths, a);
    long i = name_all_models_from_paths(all, paths, a);
    return i < 0 ? 0
                 : error_set(e, "%.200s: %.200s and another model would have the same name %.200s",
                             file, all->items[i].path, all->items[i].name);
}

/* ---- operands -------------------------------------------------------------------------------- */

/* The path in a form that filters do not parse as an option or as NAME=PATH. */
static const char *escape_path(const struct input_model *p, struct arena *a)
{
    const char *equals = strchr(p->path, '='), *slash = strchr(p->path, '/');
    bool ambiguous = *p->path == '-' || (equals && (!slash || equals < slash));
    return ambiguous ? arena_printf(a, "./%s", p->path) : p->path;
}

/* The path with the snapshot of a model in the cache; as it is if the model is not there. */
static const char *resolve_cached_path(const char *path, struct arena *a)
{
    struct error ignored;
    char *found;
    const char *key;
    if (model_path_resolve(path, &found, &key, &ignored) <= 0)
        return path;
    path = arena_printf(a, key ? "%s#%s" : "%s", found, key);
    free(found);
    return path;
}

/* The operand with the snapshots of a model, and of its adapter, in the cache. */
static const char *resolve_cached_operand(const char *operand, struct arena *a)
{
    const char *adapter = model_path_adapter(operand);
    if (!adapter)
        return resolve_cached_path(operand, a);
    char *base = model_path_copy_base(operand, adapter);
    operand =
        arena_printf(a, "%s+%s", resolve_cached_path(base, a), resolve_cached_path(adapter, a));
    free(base);
    return operand;
}

static int set_model_operand(struct input_model *p, const char *file, bool resolve_cache,
                             struct arena *a, struct error *e)
{
    const char *operand = escape_path(p, a);
    p->plain_operand = p->operand =
        resolve_cache && !p->document ? resolve_cached_operand(operand, a) : operand;
    char *default_name = model_name_from_path(p->plain_operand);
    bool same = strcmp(default_name, p->name) == 0;
    free(default_name);
    /* Whether a '+' is part of a name or precedes an adapter depends on the files at hand. */
    if (same && !p->document && !strchr(p->path, '+'))
        return 0;
    if (strpbrk(p->name, "=/"))
        return error_set(e, "%.200s: the name of a model must not contain = or /: %.200s", file,
                         p->name);
    p->operand = arena_printf(a, "%s=%s", p->name, p->document ? "" : p->plain_operand);
    return 0;
}

/* ---- the models of a document ---------------------------------------------------------------- */

int input_models_list_and_name(struct input_models *all, const struct merge_config_file *f,
                               const struct merge_config *c, bool resolve_cache, struct arena *a,
                               struct error *e)
{
    *all = (struct input_models){0};
    add_model_if_new(all, f, c->base, 0, a);
    for (size_t i = 0; i < c->n_modules; i++)
        for (size_t s = 0; s < c->modules[i].n_slices; s++)
            add_models_of_slice(all, f, c, &c->modules[i].slices[s], a);
    const char *tokenizer = c->tokenizer.source;
    size_t n = all->n_inputs;
    if (tokenizer && strcmp(tokenizer, "base") != 0 && strcmp(tokenizer, "union") != 0)
        add_model_if_new(all, f, tokenizer, 0, a);
    if (all->n_inputs > n)
        all->items[n].only_tokenizer = true;
    if (assign_unique_names(all, f->path, a, e))
        return -1;
    name_repeated_models(all, a);
    for (size_t i = 0; i < all->n_inputs; i++)
        if (set_model_operand(&all->items[i], f->path, resolve_cache, a, e))
            return -1;
    return 0;
}
