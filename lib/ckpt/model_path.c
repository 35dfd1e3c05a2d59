#include "model_path.h"

#include "hf_cache.h"
#include "input_file.h"
#include "mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool is_model(const char *path)
{
    struct error ignored;
    char *found = NULL;
    bool exists = hf_cache_resolve_path(path, &found, &ignored) > 0;
    free(found);
    return exists;
}

size_t model_path_length(const char *path)
{
    struct error ignored;
    size_t whole = strlen(path);
    if (!strchr(path, '#') || input_file_exists(path, &ignored) != 0)
        return whole;
    char *part = mem_copy_text(path), *hash;
    size_t length = 0;
    while (!length && (hash = strrchr(part, '#'))) {
        *hash = '\0';
        if (is_model(part))
            length = (size_t)(hash - part);
    }
    free(part);
    return length ? length : whole;
}

/* A path with or without a key. */
static bool is_model_with_key(const char *path)
{
    char *part = mem_copy_text_n(path, model_path_length(path));
    bool exists = is_model(part);
    free(part);
    return exists;
}

const char *model_path_adapter(const char *path)
{
    if (!strchr(path, '+') || is_model_with_key(path))
        return NULL;
    char *base = mem_copy_text(path), *plus;
    const char *adapter = NULL;
    while (!adapter && (plus = strrchr(base, '+'))) {
        *plus = '\0';
        const char *rest = path + (plus - base) + 1;
        if (is_model_with_key(base) && is_model_with_key(rest))
            adapter = rest;
    }
    free(base);
    return adapter;
}

char *model_path_copy_base(const char *path, const char *adapter)
{
    return adapter ? mem_copy_text_n(path, (size_t)(adapter - path) - 1) : mem_copy_text(path);
}

/* Says what is missing of "BASE+ADAPTER" if one of the two exists. */
static void set_missing_half_error(const char *path, struct error *e)
{
    char *base = mem_copy_text(path), *plus;
    for (bool found = false; !found && (plus = strrchr(base, '+'));) {
        *plus = '\0';
        const char *adapter = path + (plus - base) + 1;
        bool has_base = is_model_with_key(base);
        found = *base && *adapter && (has_base || is_model_with_key(adapter));
        if (found)
            error_set(e, "cannot open %s: %s exists, but %s does not%s", path,
                      has_base ? base : adapter, has_base ? adapter : base,
                      strchr(has_base ? adapter : base, '+') ? "; a model can have one adapter"
                                                             : "");
    }
    free(base);
}

int model_path_resolve(const char *path, char **found, const char **key, struct error *e)
{
    size_t length = model_path_length(path);
    char *part = mem_copy_text_n(path, length);
    *key = path[length] ? path + length + 1 : NULL;
    int result = hf_cache_resolve_path(part, found, e);
    if (result == 0)
        set_missing_half_error(part, e);
    free(part);
    return result;
}
