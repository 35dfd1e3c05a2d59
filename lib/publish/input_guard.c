#include "input_guard.h"

#include "ckpt.h"
#include "fs.h"
#include "glob_pattern.h"
#include "model_files.h"
#include "model_path.h"
#include "read_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- files of this process ------------------------------------------------------------------- */

/* Does the folder contain a file that this process has read? Links in it are followed, for a folder
 * of the Hugging Face cache is made of them. A folder with sub-folders is never replaced. */
static bool contains_read_file(const char *name)
{
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    bool found = false;
    for (struct dirent *d; dir && !found && (d = readdir(dir));) {
        struct stat st;
        found = strcmp(d->d_name, "..") != 0 && fstatat(fd, d->d_name, &st, 0) == 0 &&
                read_files_contains(&st);
    }
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    return found;
}

static void add_model_without_adapter(const char *operand)
{
    struct error ignored;
    struct stat st;
    char *path;
    const char *key;
    if (model_path_resolve(operand, &path, &key, &ignored) <= 0)
        return;
    if (stat(path, &st) == 0)
        read_files_add(&st);
    DIR *dir = opendir(path);
    for (struct dirent *d; dir && (d = readdir(dir));)
        if (strcmp(d->d_name, "..") != 0 && fstatat(dirfd(dir), d->d_name, &st, 0) == 0)
            read_files_add(&st);
    if (dir)
        closedir(dir);
    free(path);
}

void input_guard_add_model(const char *operand)
{
    const char *adapter = model_path_adapter(operand);
    if (!adapter) {
        add_model_without_adapter(operand);
        return;
    }
    char *base = model_path_copy_base(operand, adapter);
    add_model_without_adapter(base);
    add_model_without_adapter(adapter);
    free(base);
}

int input_guard_check_read_files(const char *target, struct error *e)
{
    struct stat st;
    if (lstat(target, &st) || S_ISLNK(st.st_mode))
        return 0; /* a link itself is replaced, and not what it points to */
    if (read_files_contains(&st) || contains_read_file(target))
        return error_set(
            e,
            "%s is an input of this run, which --force would destroy; write to another "
            "OUT, then rename it",
            target);
    return 0;
}

/* ---- inputs of other processes --------------------------------------------------------------- */

#define HASH_PREFIX "xxh3:"

static bool argument_has_hash(const char *argument, uint64_t hash)
{
    char text[40];
    snprintf(text, sizeof text, HASH_PREFIX "%016llx", (unsigned long long)hash);
    return glob_pattern_text_ends_with(argument, text);
}

/* Does the step name a model or a file that has this hash? With hash 0: any file. */
static bool step_has_hash(const struct history_step *s, uint64_t hash)
{
    for (size_t i = 0; i < s->n_fingerprints; i++)
        if (hash && s->fingerprints[i] == hash)
            return true;
    for (size_t i = 0; i < s->n_arguments; i++)
        if (hash ? argument_has_hash(s->arguments[i], hash)
                 : strstr(s->arguments[i], "=" HASH_PREFIX) != NULL)
            return true;
    return false;
}

/* The same for all steps but the last, if that is this process's own, and for their parents. */
static bool history_has_hash(const struct history *h, bool has_own_step, uint64_t hash)
{
    for (size_t i = 0; i < h->n; i++) {
        const struct history_step *s = &h->steps[i];
        bool is_own = has_own_step && i + 1 == h->n;
        if (!is_own && step_has_hash(s, hash))
            return true;
        for (size_t j = 0; j < s->n_parents; j++)
            if (history_has_hash(&s->parents[j], false, hash))
                return true;
    }
    return false;
}

/* What has the fingerprint, for messages; NULL: nothing. */
static const char *find_input(const struct input_guard *g, uint64_t fingerprint)
{
    const struct header *h = g->result;
    for (size_t i = 0; i < h->n_models; i++)
        if (h->models[i].has_fingerprint && h->models[i].fingerprint == fingerprint)
            return h->models[i].name;
    return fingerprint && history_has_hash(&h->history, g->has_own_step, fingerprint)
               ? "what a step of its history names"
               : NULL;
}

/* The same for the checkpoint as a whole and for each of its weight files. */
static const char *find_input_in_checkpoint(const struct input_guard *g, const struct ckpt *c)
{
    const char *name = find_input(g, ckpt_fingerprint(c));
    for (size_t i = 0; !name && i < ckpt_shard_count(c); i++)
        name = find_input(g, ckpt_shard_fingerprint(c, i));
    return name;
}

/* The same for the checkpoint of which the file `target` may be a shard: that of its folder. */
static const char *find_input_in_folder_of(const struct input_guard *g, const char *target)
{
    struct error ignored;
    const char *slash = strrchr(target, '/');
    char *folder =
        slash ? mem_copy_text_n(target, (size_t)(slash - target) + 1) : mem_copy_text(".");
    struct ckpt *c = ckpt_open(folder, NULL, NULL, &ignored);
    const char *name = c ? find_input(g, ckpt_fingerprint(c)) : NULL;
    ckpt_close(c);
    free(folder);
    return name;
}

static int check_checkpoint(const struct input_guard *g, const struct ckpt *c, const char *target,
                            const struct stat *st, struct error *e)
{
    const char *name = find_input_in_checkpoint(g, c);
    if (!name && S_ISREG(st->st_mode))
        name = find_input_in_folder_of(g, target);
    if (name)
        return error_set(e,
                         "%s has the fingerprint of %s, an input of this run, which --force would "
                         "destroy; write to another OUT, then rename it",
                         target, name);
    return 0;
}

/* The first file of the folder, other than weights, whose hash is in the history; the caller frees.
 */
static char *find_file_of_history(const struct input_guard *g, const char *folder)
{
    char *found = NULL;
    const struct history *h = &g->result->history;
    DIR *dir = history_has_hash(h, g->has_own_step, 0) ? opendir(folder) : NULL;
    for (struct dirent *d; dir && !found && (d = readdir(dir));) {
        uint64_t size, hash;
        if (model_files_kind_of(d->d_name) != MODEL_FILE_WEIGHTS &&
            fs_hash_file(dirfd(dir), d->d_name, 0, &size, &hash) == 0 && hash &&
            history_has_hash(h, g->has_own_step, hash))
            found = mem_copy_text(d->d_name);
    }
    if (dir)
        closedir(dir);
    return found;
}

static int check_files(const struct input_guard *g, const char *target, struct error *e)
{
    char *file = find_file_of_history(g, target);
    int failed = file ? error_set(e,
                                  "%s contains %.200s, an input of this run, which --force would "
                                  "destroy; write to another OUT, then rename it",
                                  target, file)
                      : 0;
    free(file);
    return failed;
}

static bool is_empty_folder(const char *path)
{
    DIR *dir = opendir(path);
    size_t n = 0;
    while (dir && n < 3 && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return dir && n < 3;
}

int input_guard_check_content(const struct input_guard *g, const char *target, struct error *e)
{
    struct stat st;
    struct error why;
    if (!g->reads_streams || lstat(target, &st) || S_ISLNK(st.st_mode) ||
        (S_ISREG(st.st_mode) && st.st_size == 0))
        return 0;
    read_files_ignore(true); /* it is not read as an input */
    struct ckpt *c = ckpt_open(target, NULL, NULL, &why);
    int failed = c ? check_checkpoint(g, c, target, &st, e) : 0;
    ckpt_close(c);
    read_files_ignore(false);
    if (!c && !is_empty_folder(target))
        return error_set(e,
                         "%s cannot be compared with the inputs of this run (%s), so --force "
                         "does not replace it",
                         target, why.text);
    return failed ? failed : check_files(g, target, e);
}
