#include "model_name.h"

#include "mem.h"
#include "model_files.h"
#include "model_path.h"
#include "shard_name.h"

#include <stdlib.h>
#include <string.h>

/* Cuts the last component off a path and returns it. A path without a slash is returned itself. */
static const char *cut_last_component(char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        path[--n] = '\0';
    char *slash = strrchr(path, '/');
    if (!slash)
        return path;
    *slash = '\0';
    return slash + 1;
}

/* models--org--name -> name; NULL for any other name. The caller frees. */
static char *copy_repository_name(const char *folder)
{
    const char *name = folder, *next;
    if (strncmp(folder, "models--", 8) != 0)
        return NULL;
    while ((next = strstr(name, "--")))
        name = next + 2;
    return mem_copy_text(name);
}

/* .../models--org--name or .../models--org--name/snapshots/REVISION -> name; NULL for any other
 * path. The caller frees. */
static char *copy_repository_name_of_snapshot(const char *path)
{
    char *copy = mem_copy_text(path);
    char *result = copy_repository_name(cut_last_component(copy));
    const char *snapshots = result ? copy : cut_last_component(copy);
    if (snapshots != copy && strcmp(snapshots, "snapshots") == 0)
        result = copy_repository_name(cut_last_component(copy));
    free(copy);
    return result;
}

static char *copy_name_of_model(const char *path);

/* The last component, of the folder's path for ".../model.safetensors". The caller frees. */
static char *copy_last_component(const char *path)
{
    char *copy = mem_copy_text(path);
    const char *name = cut_last_component(copy);
    char *result = model_files_is_default_weights_name(name) && name != copy
                       ? copy_name_of_model(copy)
                       : mem_copy_text(name);
    free(copy);
    return result;
}

/* NAME-00001-of-00003 -> NAME */
static void cut_split_number(char *name)
{
    struct shard_name s;
    if (shard_name_parse(name, "", &s) && s.stem > 1)
        name[s.stem - 1] = '\0';
}

static void cut_file_extension(char *name)
{
    static const char *const endings[] = {".safetensors.zst",
                                          ".safetensors.gz",
                                          ".safetensors.xz",
                                          ".safetensors",
                                          ".bin",
                                          ".pt",
                                          ".pth",
                                          ".npz",
                                          ".gguf",
                                          ".tar",
                                          ".tar.gz",
                                          ".tgz",
                                          ".tar.zst",
                                          ".tzst",
                                          ".tar.xz",
                                          ".txz",
                                          ".zip"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = strlen(name), m = strlen(endings[i]);
        if (n <= m || strcmp(name + n - m, endings[i]) != 0)
            continue;
        name[n - m] = '\0';
        if (strcmp(endings[i], ".gguf") == 0)
            cut_split_number(name);
        return;
    }
}

static char *copy_name_of_model(const char *path)
{
    char *name = copy_repository_name_of_snapshot(path);
    if (name)
        return name;
    name = copy_last_component(path);
    char *real = strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ? mem_real_path(path) : NULL;
    if (real) {
        free(name);
        name = copy_last_component(real);
        free(real);
    }
    cut_file_extension(name);
    return name;
}

char *model_name_append_key(const char *name, const char *key)
{
    char *result = mem_printf("%s#%s", name, key);
    for (char *c = result + strlen(name); (c = strpbrk(c, "=/"));)
        *c = '.';
    return result;
}

/* The name of a model without an adapter. */
static char *copy_name_with_key(const char *path)
{
    size_t length = model_path_length(path);
    char *model = mem_copy_text_n(path, length), *name = copy_name_of_model(model);
    if (path[length] && path[length + 1]) {
        char *with_key = model_name_append_key(name, path + length + 1);
        free(name);
        name = with_key;
    }
    free(model);
    return name;
}

char *model_name_from_path(const char *path)
{
    const char *adapter = model_path_adapter(path);
    if (!adapter)
        return copy_name_with_key(path);
    char *base_path = model_path_copy_base(path, adapter);
    char *base = copy_name_with_key(base_path), *own = copy_name_with_key(adapter);
    char *name = mem_printf("%s+%s", base, own);
    free(base_path);
    free(base);
    free(own);
    return name;
}
