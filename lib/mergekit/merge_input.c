#include "merge_input.h"

#include "model_name.h"

#include <stdlib.h>
#include <string.h>

/* Without slashes at the end and "./" in front: two spellings of a path are one model. */
static const char *plain_path(const char *model, struct arena *a)
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

static struct merge_input *find(const struct merge_inputs *all, const char *path)
{
    for (size_t i = 0; i < all->n_inputs; i++)
        if (strcmp(all->items[i].path, path) == 0)
            return &all->items[i];
    return NULL;
}

const struct merge_input *merge_input_find(const struct merge_inputs *all, const char *model,
                                           struct arena *a)
{
    return find(all, plain_path(model, a));
}

static const struct merge_config *document_of(const struct merge_config_file *f, const char *path)
{
    for (size_t i = 0; f->n_documents > 1 && i < f->n_documents; i++)
        if (f->documents[i].name && strcmp(f->documents[i].name, path) == 0)
            return &f->documents[i];
    return NULL;
}

static void add(struct merge_inputs *all, const struct merge_config_file *f, const char *model,
                struct arena *a)
{
    const char *path = model ? plain_path(model, a) : NULL;
    if (!path || find(all, path))
        return;
    struct merge_input *items = arena_alloc(a, all->n_inputs + 1, sizeof *items);
    if (all->n_inputs)
        memcpy(items, all->items, all->n_inputs * sizeof *items);
    items[all->n_inputs++] = (struct merge_input){.path = path, .document = document_of(f, path)};
    all->items = items;
}

/* ---- names ---------------------------------------------------------------------------------- */

/* The last `depth` parts of a path with dots between them, the last one as a model's name. */
static const char *name_of(const char *path, size_t depth, struct arena *a)
{
    static const char file[] = "/model.safetensors";
    char *last = model_name_from_path(path);
    const char *name = arena_copy_text_n(a, last, strlen(last));
    size_t n = strlen(path), m = sizeof file - 1;
    free(last);
    if (n > m && strcmp(path + n - m, file) == 0)
        n -= m;
    char *parts = arena_copy_text_n(a, path, n);
    for (char *slash = strrchr(parts, '/'); slash && depth > 1; slash = strrchr(parts, '/')) {
        *slash = '\0';
        const char *part = strrchr(parts, '/') ? strrchr(parts, '/') + 1 : parts;
        if (!*part || strcmp(part, ".") == 0 || strcmp(part, "..") == 0)
            continue;
        name = arena_printf(a, "%s.%s", part, name);
        depth--;
    }
    return name;
}

static bool is_shared(const struct merge_inputs *all, size_t i)
{
    for (size_t j = 0; j < all->n_inputs; j++)
        if (j != i && strcmp(all->items[i].name, all->items[j].name) == 0)
            return true;
    return false;
}

/* More and more folders in front of the names that are not one model's alone. */
static bool tell_apart(struct merge_inputs *all, const char *const *paths, struct arena *a)
{
    bool *shared = arena_alloc(a, all->n_inputs, sizeof *shared);
    bool any = true;
    for (size_t i = 0; i < all->n_inputs; i++)
        all->items[i].name = name_of(paths[i], 1, a);
    for (size_t depth = 2; any && depth < 40; depth++) {
        any = false;
        for (size_t i = 0; i < all->n_inputs; i++)
            any |= shared[i] = is_shared(all, i);
        for (size_t i = 0; i < all->n_inputs; i++)
            if (shared[i] && !all->items[i].document)
                all->items[i].name = name_of(paths[i], depth, a);
    }
    return !any;
}

static int name_all(struct merge_inputs *all, const char *file, struct arena *a, struct error *e)
{
    const char **paths = arena_alloc(a, all->n_inputs, sizeof *paths);
    for (size_t i = 0; i < all->n_inputs; i++)
        paths[i] = all->items[i].path;
    if (tell_apart(all, paths, a))
        return 0;
    for (size_t i = 0; i < all->n_inputs; i++) { /* "../a/x" and "a/x" */
        char *real = all->items[i].document ? NULL : realpath(paths[i], NULL);
        if (real)
            paths[i] = arena_copy_text_n(a, real, strlen(real));
        free(real);
    }
    if (tell_apart(all, paths, a))
        return 0;
    for (size_t i = 0; i < all->n_inputs; i++)
        if (is_shared(all, i))
            return error_set(e, "%.200s: %.200s and another model would both be called %.200s",
                             file, all->items[i].path, all->items[i].name);
    return 0;
}

/* The path, so that no filter takes it for an option or a name=path. */
static const char *file_of(const struct merge_input *p, struct arena *a)
{
    const char *equals = strchr(p->path, '='), *slash = strchr(p->path, '/');
    bool odd = *p->path == '-' || (equals && (!slash || equals < slash));
    return odd ? arena_printf(a, "./%s", p->path) : p->path;
}

static int set_operand(struct merge_input *p, const char *file, struct arena *a, struct error *e)
{
    p->plain_operand = p->operand = file_of(p, a);
    char *own = model_name_from_path(p->plain_operand);
    bool same = strcmp(own, p->name) == 0;
    free(own);
    if (same && !p->document)
        return 0;
    if (strpbrk(p->name, "=/"))
        return error_set(e, "%.200s: %.200s cannot be a model's name: it has a = or / in it", file,
                         p->name);
    p->operand = arena_printf(a, "%s=%s", p->name, p->document ? "" : p->plain_operand);
    return 0;
}

int merge_input_collect(struct merge_inputs *all, const struct merge_config_file *f,
                        const struct merge_config *c, struct arena *a, struct error *e)
{
    *all = (struct merge_inputs){0};
    add(all, f, c->base, a);
    for (size_t s = 0; s < c->n_slices; s++) {
        add(all, f, c->slices[s].base, a);
        for (size_t i = 0; i < c->slices[s].n_sources; i++)
            add(all, f, c->slices[s].sources[i].model, a);
    }
    if (c->tokenizer && strcmp(c->tokenizer, "base") != 0)
        add(all, f, c->tokenizer, a);
    if (name_all(all, f->path, a, e))
        return -1;
    for (size_t i = 0; i < all->n_inputs; i++)
        if (set_operand(&all->items[i], f->path, a, e))
            return -1;
    return 0;
}
