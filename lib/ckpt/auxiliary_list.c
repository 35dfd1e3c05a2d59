#include "auxiliary_list.h"

#include "gguf_config.h"

#include <stdlib.h>
#include <string.h>

#define MAX_LISTED 5 /* names in a message */

static void list_files(struct auxiliary_list *l, struct model_files *all,
                       const struct weight_files *w)
{
    l->files = mem_alloc(all->n + 1, sizeof *l->files);
    for (size_t i = 0; i < all->n; i++) {
        struct model_file *file = &all->files[i];
        if (model_files_kind_of(file->name) == MODEL_FILE_AUXILIARY &&
            !weight_files_contain(w, file))
            l->files[l->n++] = file;
    }
}

static void add_config_of_gguf(struct auxiliary_list *l, struct model_files *all,
                               const struct gguf_model *gguf)
{
    struct error reason;
    struct arena *a = &all->arena;
    if (!gguf || !gguf->is_known || model_files_find(all, "config.json"))
        return;
    char *text = gguf_config_json(gguf, &reason);
    struct model_file *file = arena_alloc(a, 1, sizeof *file);
    *file = (struct model_file){.name = "config.json", .title = "config.json from the metadata"};
    if (text) {
        file->bytes = (const unsigned char *)arena_copy_text(a, text);
        file->size = strlen(text);
    } else {
        file->unreadable = arena_copy_text(a, reason.text);
    }
    l->files[l->n++] = file;
    free(text);
}

/* The first of them as a list; in the arena of the files. */
static const char *describe_omitted_files(struct model_files *f)
{
    const char *text = NULL;
    for (size_t i = 0; i < f->n_omitted && i < MAX_LISTED; i++)
        text = arena_printf(&f->arena, "%s%s%.100s", text ? text : "", text ? ", " : "",
                            f->omitted[i]);
    return f->n_omitted > MAX_LISTED ? arena_printf(&f->arena, "%s, ...", text) : text;
}

void auxiliary_list_init(struct auxiliary_list *l, struct model_files *all,
                         const struct weight_files *w, const struct gguf_model *gguf)
{
    *l = (struct auxiliary_list){.all = all, .omitted = describe_omitted_files(all)};
    list_files(l, all, w);
    add_config_of_gguf(l, all, gguf);
}

void auxiliary_list_free(struct auxiliary_list *l)
{
    free(l->files);
    *l = (struct auxiliary_list){0};
}

/* An error if a sub-folder has the name of the file. */
static int check_not_folder(const struct model_files *f, const char *name, struct error *e)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < f->n_omitted; i++)
        if (strncmp(f->omitted[i], name, n) == 0 && strcmp(f->omitted[i] + n, "/") == 0)
            return error_set(e, "cannot read %s: it is a folder", name);
    return 0;
}

int auxiliary_list_read(const struct auxiliary_list *l, const char *name, char **text, size_t *size,
                        struct error *e)
{
    *text = NULL;
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->files[i]->name, name) != 0)
            continue;
        *size = l->files[i]->size;
        *text = model_files_read(l->files[i], e);
        return *text ? 1 : -1;
    }
    return l->all ? check_not_folder(l->all, name, e) : 0;
}
