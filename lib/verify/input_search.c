#include "input_search.h"

#include "ckpt.h"
#include "fs.h"
#include "mem.h"
#include "model_name.h"
#include "model_path.h"
#include "model_source.h"
#include "printable.h"
#include "saved_stream.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILE (256 << 20) /* bytes of a file that is hashed */

enum model_state { MODEL_NOT_TRIED, MODEL_FOUND, MODEL_NONE };

/* An offered path. */
struct candidate {
    const char *path;
    const char *file;    /* the path without #KEY */
    const char *operand; /* NAME=PATH; NULL: it has no NAME */
    char *default_name;  /* that its path would give a model */
    bool used, is_folder, is_adapter;
    enum model_state state;
    uint64_t fingerprint; /* of the model, if one was found */
};

struct input_search {
    size_t n, capacity;
    struct candidate *list; /* those with NAME= first */
    const char *tool, *spool, *unreadable;
    struct arena arena;
};

/* ---- listing --------------------------------------------------------------------------------- */

/* `key` may be NULL. */
static struct candidate *add_candidate(struct input_search *s, const char *file, const char *key,
                                       const struct stat *st)
{
    const char *path = key ? arena_printf(&s->arena, "%s#%s", file, key) : file;
    s->list = arena_grow(&s->arena, s->list, s->n, &s->capacity, sizeof *s->list);
    struct candidate *c = &s->list[s->n++];
    *c = (struct candidate){.path = path, .file = file, .is_folder = S_ISDIR(st->st_mode)};
    char *name = model_name_from_path(path);
    c->default_name = arena_copy_text(&s->arena, name);
    free(name);
    return c;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(((const struct candidate *)a)->path, ((const struct candidate *)b)->path);
}

static bool is_dangling_link(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && stat(path, &st) < 0 && errno == ENOENT;
}

/* Remembers the first one, which may be the input that is not found. */
static void set_unreadable(struct input_search *s, const char *path)
{
    if (!s->unreadable)
        s->unreadable = arena_copy_text(&s->arena, path);
}

/* Adds the files and folders in a folder, in the order of their names. */
static int add_entries_of_folder(struct input_search *s, const char *folder, struct error *e)
{
    DIR *d = opendir(folder);
    struct stat st;
    size_t first = s->n;
    if (!d)
        return error_set(e, "cannot read %s: %s", folder, strerror(errno));
    for (struct dirent *entry; (errno = 0, entry = readdir(d));) {
        if (entry->d_name[0] == '.')
            continue;
        const char *path = arena_printf(&s->arena, "%s/%s", folder, entry->d_name);
        if (stat(path, &st) == 0 && (S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)))
            add_candidate(s, path, NULL, &st);
        else if (is_dangling_link(path))
            set_unreadable(s, path);
    }
    int reason = errno;
    closedir(d);
    if (s->n > first)
        qsort(s->list + first, s->n - first, sizeof *s->list, compare_paths);
    return reason ? error_set(e, "cannot read %s: %s", folder, strerror(reason)) : 0;
}

static int add_operand(struct input_search *s, const char *operand, bool named, struct error *e);

/* BASE+ADAPTER: adds both. */
static int add_base_and_adapter(struct input_search *s, const char *path, const char *adapter,
                                struct error *e)
{
    char *base = model_path_copy_base(path, adapter);
    int failed = add_operand(s, base, false, e) || add_operand(s, adapter, false, e);
    free(base);
    return failed ? -1 : 0;
}

/* Adds NAME=PATH (with `named`), or PATH and if it is a folder its entries. PATH may have a #KEY.
 */
static int add_operand(struct input_search *s, const char *operand, bool named, struct error *e)
{
    const char *path = model_source_strip_name_from_operand(operand);
    const char *key;
    char *found;
    struct stat st;
    if ((path != operand) != named)
        return 0;
    if (!named && is_dangling_link(path)) {
        printable_note(s->tool, "skipped %s, a link to a missing file", path);
        set_unreadable(s, path);
        return 0;
    }
    const char *adapter = named ? NULL : model_path_adapter(path);
    if (adapter)
        return add_base_and_adapter(s, path, adapter, e);
    if (model_path_resolve(path, &found, &key, e) <= 0)
        return -1;
    path = arena_copy_text(&s->arena, found);
    free(found);
    if (stat(path, &st) < 0)
        return error_set(e, "cannot open %s: %s", path, strerror(errno));
    struct candidate *c = add_candidate(s, path, key, &st);
    c->operand = named ? operand : NULL;
    return !named && !key && c->is_folder ? add_entries_of_folder(s, path, e) : 0;
}

struct input_search *input_search_new(size_t n, const char *const *operands, const char *tool,
                                      const char *spool, struct error *e)
{
    struct input_search *s = mem_alloc(1, sizeof *s);
    s->tool = tool;
    s->spool = spool;
    for (size_t i = 0; i < 2 * n; i++)
        if (add_operand(s, operands[i % n], i < n, e)) {
            input_search_free(s);
            return NULL;
        }
    return s;
}

void input_search_add_cached(struct input_search *s, const struct hub_model *m)
{
    struct stat st;
    const char *path = hf_cache_find_snapshot(m, &s->arena);
    if (path && stat(path, &st) == 0)
        add_candidate(s, path, NULL, &st);
}

void input_search_free(struct input_search *s)
{
    if (!s)
        return;
    arena_free(&s->arena);
    free(s);
}

/* ---- models ---------------------------------------------------------------------------------- */

static int read_fingerprint(const char *path, int kinds, const char *spool, uint64_t *fingerprint,
                            bool *is_adapter, struct error *e)
{
    int is_checkpoint = ckpt_is_checkpoint(path, e);
    if (is_checkpoint < 0)
        return -1;
    struct ckpt *c = is_checkpoint ? ckpt_open(path, spool, NULL, e) : NULL;
    struct saved_stream *stream = is_checkpoint ? NULL : saved_stream_open(path, spool, kinds, e);
    *is_adapter = c && ckpt_is_adapter(c);
    if (c)
        *fingerprint = ckpt_fingerprint(c);
    else if (stream)
        *fingerprint = saved_stream_fingerprint(stream);
    ckpt_close(c);
    saved_stream_close(stream);
    return c || stream ? 0 : -1;
}

static int open_candidate(struct input_search *s, struct candidate *c, struct error *e)
{
    if (c->state == MODEL_NOT_TRIED) {
        bool failed =
            read_fingerprint(c->path, KIND_WEIGHTS, s->spool, &c->fingerprint, &c->is_adapter, e);
        c->state = failed ? MODEL_NONE : MODEL_FOUND;
        if (failed && access(c->file, c->is_folder ? R_OK | X_OK : R_OK) != 0)
            set_unreadable(s, c->file);
    }
    return c->state == MODEL_FOUND ? 0 : -1;
}

/* The candidate NAME=PATH with that name; NULL. */
static struct candidate *find_named(const struct input_search *s, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < s->n && s->list[i].operand; i++)
        if (strncmp(s->list[i].operand, name, length) == 0 && s->list[i].operand[length] == '=')
            return &s->list[i];
    return NULL;
}

/* Where find_by_fingerprint looks, in this order. */
enum group { THAT_NAME, OTHER_NAMES, GIVEN_NAMES, GROUPS };

/* The paths that give a model the name, the others, or those of NAME=PATH, because a merge may know
 * a model under two names. */
static enum group group_of(const struct candidate *c, const char *name)
{
    return c->operand ? GIVEN_NAMES : strcmp(c->default_name, name) == 0 ? THAT_NAME : OTHER_NAMES;
}

static struct candidate *find_by_fingerprint(struct input_search *s,
                                             const struct recorded_input *wanted)
{
    struct error ignored;
    for (enum group group = THAT_NAME; group < GROUPS; group++)
        for (size_t i = 0; i < s->n; i++) {
            struct candidate *c = &s->list[i];
            if (group_of(c, wanted->name) == group && open_candidate(s, c, &ignored) == 0 &&
                c->fingerprint == wanted->fingerprint)
                return c;
        }
    return NULL;
}

/* Looks for the dict that the name NAME#KEY of a model names, in files that are offered without a
 * key. */
static struct candidate *find_dict(struct input_search *s, const struct recorded_input *wanted)
{
    const char *hash = strchr(wanted->name, '#');
    for (size_t i = 0, n = s->n; hash && i < n; i++) {
        const struct candidate c = s->list[i];
        struct error ignored;
        struct stat st;
        if (c.operand || c.path != c.file || stat(c.file, &st))
            continue;
        struct candidate *dict = add_candidate(s, c.file, hash + 1, &st);
        if (open_candidate(s, dict, &ignored) == 0 && dict->fingerprint == wanted->fingerprint)
            return dict;
        s->n--;
    }
    return NULL;
}

/* Looks for a base and an adapter that together have the fingerprint, and adds BASE+ADAPTER. */
static struct candidate *find_base_with_adapter(struct input_search *s,
                                                const struct recorded_input *wanted)
{
    struct error ignored;
    struct stat st;
    for (size_t i = 0; i < s->n; i++)
        for (size_t j = 0; j < s->n; j++) {
            const struct candidate *base = &s->list[i], *adapter = &s->list[j];
            if (open_candidate(s, &s->list[i], &ignored) ||
                open_candidate(s, &s->list[j], &ignored) || !adapter->is_adapter ||
                model_source_fingerprint_with_adapter(base->fingerprint, adapter->fingerprint) !=
                    wanted->fingerprint ||
                stat(base->file, &st))
                continue;
            const char *path = arena_printf(&s->arena, "%s+%s", base->path, adapter->path);
            struct candidate *both = add_candidate(s, path, NULL, &st);
            both->state = MODEL_FOUND;
            both->fingerprint = wanted->fingerprint;
            return both;
        }
    return NULL;
}

int input_search_find_model(struct input_search *s, const struct recorded_input *wanted,
                            struct found_input *found, struct error *e)
{
    struct candidate *c = find_named(s, wanted->name), *named = c;
    *found = (struct found_input){0};
    if (c && open_candidate(s, c, e))
        return -1;
    if (wanted->has_fingerprint && (!c || c->fingerprint != wanted->fingerprint)) {
        c = find_by_fingerprint(s, wanted);
        c = c ? c : find_dict(s, wanted);
        c = c ? c : find_base_with_adapter(s, wanted);
    }
    c = c ? c : named;
    if (!c)
        return 0;
    c->used |= c == named || !c->operand;
    *found = (struct found_input){c->path, c->is_folder, c->fingerprint};
    return 0;
}

const char *input_search_first_unreadable(const struct input_search *s)
{
    return s->unreadable;
}

const char *input_search_first_unused(const struct input_search *s)
{
    for (size_t i = 0; i < s->n && s->list[i].operand; i++)
        if (!s->list[i].used)
            return s->list[i].operand;
    return NULL;
}

const char *input_search_find_statistics(struct input_search *s, uint64_t fingerprint)
{
    for (size_t i = 0; i < s->n; i++) {
        struct candidate *c = &s->list[i];
        struct error ignored;
        uint64_t own;
        bool is_adapter;
        if (read_fingerprint(c->path, KIND_WEIGHTS | KIND_ACTIVATIONS, s->spool, &own, &is_adapter,
                             &ignored) ||
            own != fingerprint)
            continue;
        c->used = true;
        return c->path;
    }
    return NULL;
}

/* ---- other files ----------------------------------------------------------------------------- */

/* Hashes a regular file as the history does. */
static bool hash_file(const char *path, uint64_t *hash)
{
    struct stat st;
    uint64_t size;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    bool hashed = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= MAX_FILE &&
                  fs_hash_range(fd, 0, MAX_FILE, &size, hash) == 0;
    if (fd >= 0)
        close(fd);
    return hashed;
}

const char *input_search_find_file(struct input_search *s, uint64_t hash)
{
    for (size_t i = 0; i < s->n; i++) {
        struct candidate *c = &s->list[i];
        uint64_t own;
        if (c->is_folder || !hash_file(c->path, &own) || own != hash)
            continue;
        c->used = true;
        return c->path;
    }
    return NULL;
}
