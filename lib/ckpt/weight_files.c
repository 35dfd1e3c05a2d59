#include "weight_files.h"

#include "foreign_format.h"
#include "glob_pattern.h"
#include "notes.h"
#include "shard_index.h"
#include "shard_name.h"

#include <stdlib.h>
#include <string.h>

#define GGUF ".gguf"

void weight_files_add(struct weight_files *w, struct model_file *file)
{
    w->list = mem_resize(w->list, w->n + 1, sizeof *w->list);
    w->list[w->n++] = file;
}

bool weight_files_contain(const struct weight_files *w, const struct model_file *file)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->list[i] == file)
            return true;
    return false;
}

void weight_files_free(struct weight_files *w)
{
    free(w->list);
    w->list = NULL;
    w->n = 0;
}

/* ---- shards without an index ----------------------------------------------------------------- */

/* The first file that is named like a shard; NULL if there is none. Shards of two models are an
 * error. */
static int find_shard_set(const struct weight_files *w, const char *ending,
                          struct model_file **first, struct shard_name *s, struct error *e)
{
    *first = NULL;
    for (size_t i = 0; i < w->files->n; i++) {
        struct model_file *file = &w->files->files[i];
        struct shard_name other;
        if (!shard_name_parse(file->name, ending, &other))
            continue;
        if (!*first) {
            *first = file;
            *s = other;
        } else if (other.stem != s->stem || other.count != s->count ||
                   strncmp(file->name, (*first)->name, s->stem) != 0) {
            return error_set(e, "%s contains shards of several models (%s, %s) and no index",
                             w->path, (*first)->name, file->name);
        }
    }
    return 0;
}

/* Adds all shards of the set. 1: added; 0: there are none. */
static int add_unindexed_shards(struct weight_files *w, const char *ending, struct error *e)
{
    struct model_file *first;
    struct shard_name s = {0};
    if (find_shard_set(w, ending, &first, &s, e) < 0)
        return -1;
    struct arena a = {0};
    int failed = 0;
    for (size_t i = 1; first && !failed && i <= s.count; i++) {
        const char *name = shard_name_of_number(first->name, &s, i, ending, &a);
        struct model_file *file = model_files_find(w->files, name);
        if (file)
            weight_files_add(w, file);
        else
            failed = error_set(e, "%s: the shard %s is missing%s", w->path, name,
                               model_files_download_hint(w->files));
    }
    arena_free(&a);
    return failed ? -1 : w->n > 0;
}

/* ---- shards of an index ---------------------------------------------------------------------- */

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Adds the shards that an index lists. Returns 1. */
static int add_indexed_shards(struct weight_files *w, struct model_file *index, struct error *e)
{
    const char *tensor;
    json_t *value, *map = shard_index_read(w->files, index, w->path, e);
    if (!map)
        return -1;
    size_t n = 0;
    const char **names = mem_alloc(json_object_size(map), sizeof *names);
    json_object_foreach(map, tensor, value) names[n++] = json_string_value(value);
    qsort(names, n, sizeof *names, compare_strings);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
            weight_files_add(w, model_files_find(w->files, names[i]));
    free(names);
    json_decref(map);
    w->index = index;
    return 1;
}

/* ---- choosing -------------------------------------------------------------------------------- */

/* The only file whose name has this ending; NULL if there is none or if there are several, of which
 * *several is one then. */
static struct model_file *find_only_file_with_ending(const struct weight_files *w,
                                                     const char *ending,
                                                     struct model_file **several)
{
    struct model_file *found = NULL;
    *several = NULL;
    for (size_t i = 0; i < w->files->n; i++) {
        struct model_file *file = &w->files->files[i];
        if (strlen(file->name) <= strlen(ending) ||
            !glob_pattern_text_ends_with(file->name, ending))
            continue;
        if (found)
            *several = file;
        found = found ? found : file;
    }
    return *several ? NULL : found;
}

/* Looks for weights in one format: a file named stem and ending, else an index of files with that
 * ending (of another stem if it is the only one), else shards without an index. 1: found; 0: none.
 */
static int find_weights_in_format(struct weight_files *w, const char *stem, const char *ending,
                                  struct error *e)
{
    char name[100], index_name[120];
    struct model_file *file, *index, *several;
    snprintf(name, sizeof name, "%s%s", stem, ending);
    snprintf(index_name, sizeof index_name, "%s.index.json", name);
    file = model_files_find(w->files, name);
    index = model_files_find(w->files, index_name);
    if (file) {
        if (index)
            notes_print(w->notes, "%s: reading %s; %s is ignored", w->path, name, index_name);
        weight_files_add(w, file);
        return 1;
    }
    if (!index) {
        snprintf(index_name, sizeof index_name, "%s.index.json", ending);
        index = find_only_file_with_ending(w, index_name, &several);
    }
    return index ? add_indexed_shards(w, index, e) : add_unindexed_shards(w, ending, e);
}

/* Looks for the only GGUF file, or the files of the only split. 1: found; 0: there are none. */
static int find_gguf_weights(struct weight_files *w, struct error *e)
{
    struct shard_name split;
    struct model_file *several, *only = find_only_file_with_ending(w, GGUF, &several);
    size_t n = 0;
    for (size_t i = 0; i < w->files->n; i++)
        n += glob_pattern_text_ends_with(w->files->files[i].name, GGUF);
    if (only && !shard_name_parse(only->name, GGUF, &split))
        weight_files_add(w, only);
    else if (n > 0 && add_unindexed_shards(w, GGUF, e) < 0)
        return -1;
    if (w->n == n)
        return n > 0;
    return error_set(e, "%s contains several GGUF files (%s, ...); give the path of one file",
                     w->path, several->name);
}

/* Looks for an .npz file, beside which no other file may contain weights. 1: found; 0: there is
 * none. */
static int find_npz_weights(struct weight_files *w, struct error *e)
{
    struct model_file *several, *only = find_only_file_with_ending(w, ".npz", &several);
    size_t n = 0;
    for (size_t i = 0; i < w->files->n; i++) {
        enum model_file_kind kind = model_files_kind_of(w->files->files[i].name);
        n += kind == MODEL_FILE_WEIGHTS || kind == MODEL_FILE_UNSUPPORTED;
    }
    if (several)
        return error_set(e, "%s contains several .npz files (%s, ...); give the path of one file",
                         w->path, several->name);
    if (!only || n > 1)
        return 0;
    weight_files_add(w, only);
    return 1;
}

/* Is it an unpacked tar of torch before 1.0? */
static bool is_torch_0_tar(const struct model_files *f)
{
    return model_files_find(f, "sys_info") && model_files_find(f, "storages") &&
           model_files_find(f, "pickle");
}

/* ---- diffusers ------------------------------------------------------------------------------- */

static bool folder_has_weights(const char *path)
{
    struct model_files files = {0};
    struct error ignored;
    bool found = false;
    if (model_files_add_folder(&files, path, &ignored) == 0)
        for (size_t i = 0; i < files.n; i++)
            found |= model_files_kind_of(files.files[i].name) == MODEL_FILE_WEIGHTS;
    model_files_free(&files);
    return found;
}

/* A pipeline consists of several models; each is in a folder of its own. */
static int reject_pipeline(const struct weight_files *w, struct error *e)
{
    struct arena a = {0};
    size_t n = strlen(w->path);
    const char *slash = n && w->path[n - 1] == '/' ? "" : "/", *names = "";
    for (size_t i = 0; i < w->files->n_omitted; i++) {
        const char *folder = w->files->omitted[i];
        char *path = arena_printf(&a, "%s%s%s", w->path, slash, folder);
        if (*folder != '.' && folder[strlen(folder) - 1] == '/' && folder_has_weights(path))
            names = arena_printf(&a, "%s%s%.*s", names, *names ? ", " : ": ", (int)strlen(path) - 1,
                                 path);
    }
    int failed =
        error_set(e, "%s is a diffusers pipeline of several models; give the folder of one%s",
                  w->path, names);
    arena_free(&a);
    return failed;
}

/* ---- LoRA adapters --------------------------------------------------------------------------- */

/* Looks for the weights of an adapter. 1: found; 0: it is no adapter. */
static int find_adapter_weights(struct weight_files *w, struct error *e)
{
    struct model_file *weights = model_files_find(w->files, "adapter_model.safetensors");
    weights = weights ? weights : model_files_find(w->files, "adapter_model.bin");
    bool has_config = model_files_find(w->files, "adapter_config.json") != NULL;
    if (!has_config && !weights)
        return 0;
    if (!has_config)
        return error_set(e, "%s has the weights of an adapter (%s), but no adapter_config.json",
                         w->path, weights->name);
    if (!weights)
        return error_set(e,
                         "%s has an adapter_config.json, but no adapter_model.safetensors or "
                         "adapter_model.bin",
                         w->path);
    weight_files_add(w, weights);
    w->is_adapter = true;
    return 1;
}

/* ---- all formats ----------------------------------------------------------------------------- */

/* Names a model of a Hugging Face cache, a file in a format that is not supported, or one that has
 * to be chosen. */
static int set_no_weights_error(const struct weight_files *w, struct error *e)
{
    if (foreign_format_of_name(w->path))
        return foreign_format_set_error(w->path, foreign_format_of_name(w->path), e);
    for (size_t i = 0; i < w->files->n_omitted; i++)
        if (strncmp(w->files->omitted[i], "models--", 8) == 0)
            return error_set(
                e,
                "%s is a Hugging Face cache; give the path of one model in it, such as "
                "%s/%s",
                w->path, w->path, w->files->omitted[i]);
    for (size_t i = 0; i < w->files->n; i++) {
        const char *name = w->files->files[i].name;
        const struct foreign_format *foreign = foreign_format_of_name(name);
        if (foreign)
            return error_set(e, "%s contains no weights that can be read: %s is %s; %s", w->path,
                             name, foreign->what, foreign->advice);
        if (model_files_kind_of(name) == MODEL_FILE_WEIGHTS)
            return error_set(e,
                             "%s contains no weights under their usual names; give the path of one "
                             "file, such as %s/%s",
                             w->path, w->path, name);
    }
    const char *hint = model_files_download_hint(w->files);
    return error_set(e, "%s contains no weights%s", w->path,
                     *hint ? hint
                           : "; expected model.safetensors, shards with an index, one "
                             ".safetensors file, pytorch_model.bin, or one GGUF or .npz file");
}

int weight_files_find(struct weight_files *w, struct error *e)
{
    static const char *const kinds[][2] = {{"model", ".safetensors"},
                                           {"diffusion_pytorch_model", ".safetensors"},
                                           {"pytorch_model", ".bin"},
                                           {"diffusion_pytorch_model", ".bin"}};
    struct model_file *several, *only;
    int found = 0;
    if (model_files_find(w->files, "model_index.json"))
        return reject_pipeline(w, e);
    found = find_adapter_weights(w, e);
    for (size_t i = 0; found == 0 && i < sizeof kinds / sizeof *kinds; i++)
        found = find_weights_in_format(w, kinds[i][0], kinds[i][1], e);
    if (found)
        return found < 0 ? -1 : 0;
    only = find_only_file_with_ending(w, ".safetensors", &several);
    if (several)
        return error_set(e,
                         "%s contains several .safetensors files (%s, ...) and no index; give the "
                         "path of one file",
                         w->path, several->name);
    if (only) {
        weight_files_add(w, only);
        return 0;
    }
    found = find_gguf_weights(w, e);
    if (found == 0)
        found = find_npz_weights(w, e);
    if (found)
        return found < 0 ? -1 : 0;
    if (w->tokenizer_is_enough && model_files_find(w->files, "tokenizer.json"))
        return 0;
    if (is_torch_0_tar(w->files))
        return error_set(e,
                         "%s is in the format of torch before 1.0, which is not supported; load it "
                         "with torch and save it as safetensors",
                         w->path);
    return set_no_weights_error(w, e);
}
