#include "input_guard.h"

#include "ckpt.h"
#include "fs.h"
#include "read_files.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Does the folder contain a file that this process has read? Links in it are followed, for a folder
 * of the Hugging Face cache is made of them; those to folders are not. */
static bool contains_read_file(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    bool found = false;
    for (struct dirent *d; dir && !found && (d = readdir(dir));) {
        struct stat st;
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        found = fstatat(fd, d->d_name, &st, 0) == 0 && read_files_contains(&st);
        if (!found)
            found = contains_read_file(fd, d->d_name);
    }
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    return found;
}

/* The model of the header that has the fingerprint of the checkpoint `target`; NULL: none. */
static const char *find_model(const char *target, const struct header *h)
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

int input_guard_check(const char *target, bool force, const struct header *h, bool by_fingerprint,
                      struct error *e)
{
    struct stat st;
    if (!force || strcmp(target, "-") == 0 || lstat(target, &st) || S_ISLNK(st.st_mode))
        return 0; /* a link itself is replaced, and not what it points to */
    if (read_files_contains(&st) || contains_read_file(AT_FDCWD, target))
        return error_set(
            e,
            "%s is an input of this run, which --force would destroy; write to another "
            "OUT, then rename it",
            target);
    const char *model = by_fingerprint ? find_model(target, h) : NULL;
    return model ? error_set(e,
                             "%s has the fingerprint of %s, an input of this run, which --force "
                             "would destroy; write to another OUT, then rename it",
                             target, model)
                 : 0;
}
