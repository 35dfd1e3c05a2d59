#include "hf_cache.h"

#include "input_file.h"
#include "model_files.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LISTED   5 /* snapshots in a message */
#define SHORT_COMMIT 7 /* digits of an abbreviated commit, at least */

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

/* ---- names of snapshots ---------------------------------------------------------------------- */

/* Cuts the last component off a path, and returns it; NULL if there is none before a slash. */
static char *cut_last_component(char *path)
{
    size_t n = strlen(path);
    while (n && path[n - 1] == '/')
        path[--n] = '\0';
    char *slash = strrchr(path, '/');
    if (!slash)
        return NULL;
    *slash = '\0';
    return slash + 1;
}

/* models--ORG--NAME or models--NAME -> ORG/NAME or NAME; NULL if it is something else. */
static char *repository_of_folder(char *folder)
{
    static const char prefix[] = "models--";
    if (strncmp(folder, prefix, sizeof prefix - 1) != 0)
        return NULL;
    char *name = folder + sizeof prefix - 1, *dashes = strstr(name, "--");
    if (dashes) {
        *dashes = '/';
        memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
    }
    return is_repository_name(name) ? name : NULL;
}

/* ---- revisions ------------------------------------------------------------------------------- */

/* Reads the commit in refs/REVISION. 1: read; 0: there is none; -1: error. */
static int read_commit_of_revision(const char *path, char *revision, size_t capacity,
                                   struct error *e)
{
    int exists = input_file_exists(path, e);
    if (exists <= 0)
        return exists;
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(revision, 1, capacity - 1, f) : 0;
    int failed =
        !f || ferror(f) ? error_set(e, "cannot read %.300s: %s", path, strerror(errno)) : 0;
    if (f)
        fclose(f);
    while (n > 0 && isspace((unsigned char)revision[n - 1]))
        n--;
    revision[n] = '\0';
    if (!failed && (strlen(revision) != n || !model_files_is_bare_name(revision)))
        failed = error_set(e, "%.300s does not contain the name of a revision", path);
    return failed ? -1 : 1;
}

static bool is_commit(const char *text)
{
    return strlen(text) == 40 && strspn(text, "0123456789abcdef") == 40;
}

static bool is_start_of_commit(const char *text)
{
    size_t n = strlen(text);
    return n >= SHORT_COMMIT && n < 40 && strspn(text, "0123456789abcdef") == n;
}

/* What fetches a model from the Hub; revision NULL: main. */
static const char *get_download_command(const char *name, const char *revision, struct arena *a)
{
    return revision ? arena_printf(a, "hf download %s --revision %s", name, revision)
                    : arena_printf(a, "hf download %s", name);
}

static int is_visible(const struct dirent *entry)
{
    return *entry->d_name != '.';
}

/* The names of a repository's snapshots, sorted, in the arena; how many. */
static size_t list_snapshots(struct arena *a, const char *repository, const char ***names)
{
    struct dirent **entries;
    int n = scandir(arena_printf(a, "%s/snapshots", repository), &entries, is_visible, alphasort);
    *names = arena_alloc(a, n > 0 ? (size_t)n : 0, sizeof **names);
    for (int i = 0; i < n; i++) {
        (*names)[i] = arena_copy_text(a, entries[i]->d_name);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return n > 0 ? (size_t)n : 0;
}

/* The commit that starts with `start`. 1: found; 0: none; -1: there are several. */
static int complete_commit(struct arena *a, const char *repository, const char *start,
                           const char *name, char *commit, size_t capacity, struct error *e)
{
    const char **names;
    size_t n = list_snapshots(a, repository, &names), found = 0;
    for (size_t i = 0; i < n; i++)
        if (strncmp(names[i], start, strlen(start)) == 0) {
            snprintf(commit, capacity, "%s", names[i]);
            found++;
        }
    return found > 1
               ? error_set(e, "%zu revisions of %s in the local Hugging Face cache start with %s",
                           found, name, start)
               : (int)found;
}

/* .../models--org--name -> org/name; NULL if it is something else. */
static const char *get_repository_name(struct arena *a, const char *repository)
{
    char *copy = arena_copy_text(a, repository), *folder = cut_last_component(copy);
    return repository_of_folder(folder ? folder : copy);
}

/* models--org--name/refs/REVISION -> models--org--name/snapshots/COMMIT. A commit, or its start,
 * names its snapshot itself. 1: found; 0: there is no such revision; -1: error, such as a snapshot
 * that is missing. */
static int find_snapshot(struct arena *a, const char *repository, const char *revision,
                         const char *name, const char **snapshot, struct error *e)
{
    char commit[100];
    int found = 1;
    if (is_commit(revision))
        snprintf(commit, sizeof commit, "%s", revision);
    else
        found = read_commit_of_revision(arena_printf(a, "%s/refs/%s", repository, revision), commit,
                                        sizeof commit, e);
    if (found == 0 && is_start_of_commit(revision))
        found = complete_commit(a, repository, revision, name, commit, sizeof commit, e);
    if (found <= 0)
        return found;
    *snapshot = arena_printf(a, "%s/snapshots/%s", repository, commit);
    found = input_file_exists(*snapshot, e);
    const char *hub = get_repository_name(a, repository);
    return found == 0
               ? error_set(
                     e, "the local Hugging Face cache lacks revision %s of %s: %s", commit, name,
                     hub ? get_download_command(hub, commit, a) : "the download is incomplete")
               : found;
}

/* ---- models in the cache --------------------------------------------------------------------- */

struct hub_model hf_cache_identify_model(const char *path, struct arena *a)
{
    char *copy = arena_copy_text(a, path), *commit = cut_last_component(copy);
    if (commit && !is_commit(commit)) /* a file in the snapshot? */
        commit = cut_last_component(copy);
    char *snapshots = cut_last_component(copy), *folder = strrchr(copy, '/');
    if (!commit || !is_commit(commit) || !snapshots || strcmp(snapshots, "snapshots") != 0)
        return (struct hub_model){0};
    const char *name = repository_of_folder(folder ? folder + 1 : copy);
    return name ? (struct hub_model){name, commit} : (struct hub_model){0};
}

const char *hf_cache_download_hint(const char *path, struct arena *a)
{
    const struct hub_model m = hf_cache_identify_model(path, a);
    return m.name ? arena_printf(a, "; the download is incomplete: %s",
                                 get_download_command(m.name, m.commit, a))
                  : "";
}

size_t hf_cache_list_models(const char ***names, struct arena *a)
{
    struct dirent **entries;
    size_t n_names = 0, capacity = 0;
    int n = scandir(find_cache_folder(a), &entries, NULL, alphasort);
    *names = NULL;
    for (int i = 0; i < n; i++) {
        const char *name = repository_of_folder(entries[i]->d_name);
        if (name) {
            *names = arena_grow(a, *names, n_names, &capacity, sizeof **names);
            (*names)[n_names++] = arena_copy_text(a, name);
        }
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return n_names;
}

/* ---- finding a model ------------------------------------------------------------------------- */

/* The folder of the model in the cache. */
static const char *get_repository_folder(struct arena *a, const char *name)
{
    const char *slash = strchr(name, '/');
    return slash ? arena_printf(a, "%s/models--%.*s--%s", find_cache_folder(a), (int)(slash - name),
                                name, slash + 1)
                 : arena_printf(a, "%s/models--%s", find_cache_folder(a), name);
}

const char *hf_cache_find_snapshot(const struct hub_model *m, struct arena *a)
{
    struct error ignored;
    if (!m->name || !m->commit || !is_repository_name(m->name) || !is_commit(m->commit))
        return NULL;
    const char *path =
        arena_printf(a, "%s/snapshots/%s", get_repository_folder(a, m->name), m->commit);
    return input_file_exists(path, &ignored) > 0 ? path : NULL;
}

/* ---- the folder of a model in a cache, given by its path --------------------------------------
 */

/* Is it the folder models--org--name, with its snapshots? */
static bool is_repository_folder(struct arena *a, const char *path)
{
    struct error ignored;
    const char *end = path + strlen(path);
    while (end > path && end[-1] == '/')
        end--;
    const char *last = end;
    while (last > path && last[-1] != '/')
        last--;
    return strncmp(last, "models--", 8) == 0 &&
           input_file_exists(arena_printf(a, "%s/snapshots", path), &ignored) > 0;
}

/* "BEFORE1, BEFORE2, ...": the first names, each behind the text. */
static const char *format_list(struct arena *a, const char *before, size_t n,
                               const char *const *names)
{
    const char *text = "";
    for (size_t i = 0; i < n && i < MAX_LISTED; i++)
        text = arena_printf(a, "%s%s%s%s", text, i ? ", " : "", before, names[i]);
    return n > MAX_LISTED ? arena_printf(a, "%s, ...", text) : text;
}

/* The only snapshot in the folder; several are an error that lists them. */
static int find_only_snapshot(struct arena *a, const char *repository, const char **snapshot,
                              struct error *e)
{
    const char **names, *folder = arena_printf(a, "%s/snapshots/", repository);
    size_t n = list_snapshots(a, repository, &names);
    if (n == 0)
        return error_set(e, "%s has no snapshots: the download is incomplete", repository);
    *snapshot = arena_printf(a, "%s%s", folder, names[0]);
    return n == 1 ? 1
                  : error_set(e, "%s has no main revision; choose one of %s", repository,
                              format_list(a, folder, n, names));
}

static int find_snapshot_of_folder(struct arena *a, const char *path, const char **snapshot,
                                   struct error *e)
{
    int found = find_snapshot(a, path, "main", path, snapshot, e);
    return found == 0 ? find_only_snapshot(a, path, snapshot, e) : found;
}

/* Is it the name of a branch or tag, such as main or refs/pr/1? */
static bool is_revision(const char *text)
{
    return *text && strlen(text) <= 200 && !strstr(text, "..") && *text != '/' &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-") ==
               strlen(text);
}

/* The model is not in the cache, or not in this revision. */
static void set_not_found_error(struct arena *a, const char *path, const char *name,
                                const char *revision, struct error *e)
{
    const char **names;
    size_t n = list_snapshots(a, get_repository_folder(a, name), &names);
    const char *hint = strchr(name, '/') ? arena_printf(a, "; from the Hub: %s",
                                                        get_download_command(name, revision, a))
                                         : "";
    if (n)
        error_set(e, "the local Hugging Face cache has no revision %s of %s, but %s%s",
                  revision ? revision : "main", name,
                  format_list(a, arena_printf(a, "%s@", name), n, names), hint);
    else
        error_set(e, "%s is not a file, a folder or a model in the local Hugging Face cache%s",
                  path, hint);
}

/* Finds a path that does not exist: ORG/NAME or ORG/NAME@REVISION in the cache, or PATH@REVISION.
 */
static int find_in_cache(struct arena *a, const char *path, const char **snapshot, struct error *e)
{
    int reason = errno;
    const char *at = strrchr(path, '@');
    const char *name = at ? arena_copy_text_n(a, path, (size_t)(at - path)) : path;
    const char *revision = at ? at + 1 : "main";
    int found = at && is_revision(revision) ? input_file_exists(name, e) : 0;
    if (found != 0) {
        *snapshot = name;
        return found;
    }
    bool is_name = is_repository_name(name) && is_revision(revision);
    if (is_name)
        found = find_snapshot(a, get_repository_folder(a, name), revision, name, snapshot, e);
    if (found == 0 && is_name)
        set_not_found_error(a, path, name, at ? revision : NULL, e);
    else if (found == 0)
        error_set(e, "cannot open %s: %s", path, strerror(reason));
    return found;
}

int hf_cache_resolve_path(const char *path, char **found, struct error *e)
{
    struct arena a = {0};
    const char *snapshot = path;
    *found = NULL;
    if (!*path)
        return error_set(e, "the path of a model is empty");
    int exists = input_file_exists(path, e);
    if (exists == 0)
        exists = find_in_cache(&a, path, &snapshot, e);
    else if (exists > 0 && is_repository_folder(&a, path))
        exists = find_snapshot_of_folder(&a, path, &snapshot, e);
    *found = exists > 0 ? mem_copy_text(snapshot) : NULL;
    arena_free(&a);
    return exists;
}
