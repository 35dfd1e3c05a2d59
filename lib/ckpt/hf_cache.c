#include "hf_cache.h"

#include "model_files.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Does it look like org/name or name, of letters, digits, '.', '-' and '_'? */
static bool is_repository_name(const char *name)
{
    size_t slashes = 0;
    for (const char *p = name; *p; p++) {
        bool first = p == name || p[-1] == '/';
        if (*p == '/' && (first || !p[1] || ++slashes > 1))
            return false;
        if (*p != '/' && !isalnum((unsigned char)*p) && (first || !strchr("._-", *p)))
            return false;
    }
    return *name && strlen(name) <= 200;
}

static char *find_cache_folder(struct arena *a)
{
    const char *hub = getenv("HF_HUB_CACHE"), *home = getenv("HF_HOME");
    const char *cache = getenv("XDG_CACHE_HOME"), *user = getenv("HOME");
    if (hub && *hub)
        return arena_printf(a, "%s", hub);
    if (home && *home)
        return arena_printf(a, "%s/hub", home);
    if (cache && *cache)
        return arena_printf(a, "%s/huggingface/hub", cache);
    return arena_printf(a, "%s/.cache/huggingface/hub", user ? user : "");
}

/* Reads the revision in refs/main; false if it is not a bare file name. */
static bool read_main_revision(const char *path, char *revision, size_t capacity)
{
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(revision, 1, capacity - 1, f) : 0;
    if (f)
        fclose(f);
    while (n > 0 && isspace((unsigned char)revision[n - 1]))
        n--;
    revision[n] = '\0';
    return strlen(revision) == n && model_files_is_bare_name(revision);
}

/* models--org--name/refs/main -> models--org--name/snapshots/REVISION; NULL if there is none. */
static const char *find_snapshot_folder(struct arena *a, const char *name)
{
    const char *slash = strchr(name, '/');
    char revision[100];
    struct stat st;
    const char *repository = slash ? arena_printf(a, "%s/models--%.*s--%s", find_cache_folder(a),
                                                  (int)(slash - name), name, slash + 1)
                                   : arena_printf(a, "%s/models--%s", find_cache_folder(a), name);
    if (!read_main_revision(arena_printf(a, "%s/refs/main", repository), revision, sizeof revision))
        return NULL;
    const char *snapshot = arena_printf(a, "%s/snapshots/%s", repository, revision);
    return stat(snapshot, &st) == 0 && S_ISDIR(st.st_mode) ? snapshot : NULL;
}

char *hf_cache_resolve_path(const char *path, struct error *e)
{
    struct arena a = {0};
    if (access(path, F_OK) == 0)
        return mem_copy_text(path);
    int reason = errno;
    bool is_name = (reason == ENOENT || reason == ENOTDIR) && is_repository_name(path);
    const char *snapshot = is_name ? find_snapshot_folder(&a, path) : NULL;
    char *found = snapshot ? mem_copy_text(snapshot) : NULL;
    arena_free(&a);
    if (found)
        return found;
    if (is_name)
        error_set(e, "%s is not a file, a folder or a model in the local Hugging Face cache", path);
    else
        error_set(e, "cannot open %s: %s", path, strerror(reason));
    return NULL;
}
