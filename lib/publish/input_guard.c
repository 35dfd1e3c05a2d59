#include "input_guard.h"

#include "ckpt.h"
#include "fs.h"
#include "model_path.h"
#include "read_files.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

void input_guard_add_model(const char *operand)
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

/* The model of the header that has the fingerprint of the checkpoint `target`; NULL: none. */
static const char *find_model_with_fingerprint_of(const char *target, const struct header *h)
{
    struct error ignored;
    struct ckpt *c = ckpt_open(target, NULL, NULL, &ignored);
    const char *name = NULL;
    for (size_t i = 0; c && !name && i < h->n_models; i++)
        if (h->models[i].has_fingerprint && h->models[i].fingerprint == ckpt_fingerprint(c))
            name = h->models[i].name;
    ckpt_close(c);
    return name;
}

/* The same for a model of which `target` may be a shard. */
static const char *find_model(const char *target, const struct stat *st, const struct header *h)
{
    const char *name = find_model_with_fingerprint_of(target, h), *slash = strrchr(target, '/');
    if (name || !S_ISREG(st->st_mode))
        return name;
    char *folder =
        slash ? mem_copy_text_n(target, (size_t)(slash - target) + 1) : mem_copy_text(".");
    name = find_model_with_fingerprint_of(folder, h);
    free(folder);
    return name;
}

int input_guard_check(const char *target, bool force, const struct header *h, bool by_fingerprint,
                      struct error *e)
{
    struct stat st;
    if (!force || strcmp(target, "-") == 0 || lstat(target, &st) || S_ISLNK(st.st_mode))
        return 0; /* a link itself is replaced, and not what it points to */
    if (read_files_contains(&st) || contains_read_file(target))
        return error_set(
            e,
            "%s is an input of this run, which --force would destroy; write to another "
            "OUT, then rename it",
            target);
    const char *model = by_fingerprint ? find_model(target, &st, h) : NULL;
    return model ? error_set(e,
                             "%s has the fingerprint of %s, an input of this run, which --force "
                             "would destroy; write to another OUT, then rename it",
                             target, model)
                 : 0;
}
