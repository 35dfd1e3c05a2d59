#include "temporary_folder.h"

#include "fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define MODEL     "model"
#define MANIFEST  "manifest"
#define TITLE     "tvtools: files of a checkpoint that is being written"
#define TRIES_MAX 100

/* ---- creating -------------------------------------------------------------------------------- */

static int append(const struct temporary_folder *f, const void *bytes, size_t size)
{
    const char *from = bytes;
    while (size > 0) {
        ssize_t n = write(f->manifest, from, size);
        if (n < 0 && errno != EINTR)
            return -1;
        from += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* Appends text with its terminating zero. */
static int append_text(const struct temporary_folder *f, const char *text)
{
    return append(f, text, strlen(text) + 1);
}

/* Before the manifest was locked, another process may have removed it as abandoned: 1. */
static int lock_manifest(const struct temporary_folder *f)
{
    struct stat st;
    if (flock(f->manifest, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        return 1;
    if (fstat(f->manifest, &st))
        return -1;
    return st.st_nlink == 0;
}

static int close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
    return -1;
}

/* 1: the name is taken, or another process removed the new folder. */
static int try_to_create(struct temporary_folder *f)
{
    struct stat st;
    if (mkdirat(f->parent, f->name, 0700))
        return errno == EEXIST ? 1 : -1;
    f->outer = openat(f->parent, f->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (f->outer < 0 || fstat(f->outer, &st))
        return errno == ENOENT ? 1 : -1;
    f->owner = st.st_uid;
    f->manifest =
        openat(f->outer, MANIFEST, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (f->manifest < 0)
        return errno == ENOENT ? 1 : -1;
    int taken = lock_manifest(f);
    if (taken)
        return taken;
    if (append_text(f, TITLE) || mkdirat(f->outer, MODEL, 0777))
        return -1;
    f->model = openat(f->outer, MODEL, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return f->model < 0 ? -1 : 0;
}

int temporary_folder_create(struct temporary_folder *f, const struct output_target *target)
{
    *f = TEMPORARY_FOLDER_CLOSED;
    f->parent = target->parent;
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        free(f->name);
        f->name = output_target_temporary_name(target, "partial");
        f->outer = close_fd(f->outer);
        f->manifest = close_fd(f->manifest);
        int result = try_to_create(f);
        if (result <= 0)
            return result;
    }
    errno = EEXIST;
    return -1;
}

int temporary_folder_list(const struct temporary_folder *f, const char *name)
{
    return append_text(f, name);
}

int temporary_folder_list_replaced(const struct temporary_folder *f,
                                   const struct replaced_target *replaced)
{
    return append(f, replaced->records.data, replaced->records.size);
}

int temporary_folder_remove(const struct temporary_folder *f)
{
    if (!f->name)
        return 0;
    if (f->outer >= 0) {
        if (unlinkat(f->outer, MODEL, AT_REMOVEDIR) && errno != ENOENT)
            return -1; /* with the manifest, so that the next process can try again */
        if (f->manifest >= 0)
            unlinkat(f->outer, MANIFEST, 0);
    }
    return unlinkat(f->parent, f->name, AT_REMOVEDIR);
}

void temporary_folder_close(struct temporary_folder *f)
{
    close_fd(f->outer);
    close_fd(f->model);
    close_fd(f->manifest);
    free(f->name);
    *f = TEMPORARY_FOLDER_CLOSED;
}

/* ---- what killed processes left -------------------------------------------------------------- */

/* Opens the manifest if it is one of this user's and no process holds it; -1 if not. */
static int open_abandoned_manifest(int outer, uid_t owner)
{
    struct stat st;
    int fd = fs_open_regular_file(outer, MANIFEST, &st);
    if (fd < 0)
        return -1;
    if (st.st_uid == owner && flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 &&
        st.st_nlink == 1)
        return fd;
    return close_fd(fd);
}

/* Removes what the manifest lists: files in model/, or what was exchanged for it. */
static void remove_listed(int outer, uid_t owner, const char *manifest, size_t size)
{
    const char *end = manifest + size;
    if (replaced_target_is(manifest, size, outer, MODEL)) {
        replaced_target_remove(manifest, size, outer, MODEL);
        return;
    }
    int model = fs_open_own_folder(outer, MODEL, owner);
    for (const char *name = manifest + sizeof TITLE; name < end; name += strlen(name) + 1)
        if (model >= 0 && !strchr(name, '/'))
            unlinkat(model, name, 0);
    close_fd(model);
}

static void remove_abandoned(int parent, const char *name, uid_t owner)
{
    size_t size = 0;
    int outer = fs_open_own_folder(parent, name, owner);
    int manifest = outer < 0 ? -1 : open_abandoned_manifest(outer, owner);
    char *text = manifest < 0 ? NULL : fs_read_file(outer, MANIFEST, &size);
    bool has_title = text && size >= sizeof TITLE && memcmp(text, TITLE, sizeof TITLE) == 0;
    const struct temporary_folder f = {
        .parent = parent, .name = (char *)name, .outer = outer, .manifest = manifest};
    if (has_title)
        remove_listed(outer, owner, text, size);
    if (has_title || (text && size == 0)) /* killed before it wrote the title */
        temporary_folder_remove(&f);
    else if (outer >= 0)
        unlinkat(parent, name, AT_REMOVEDIR); /* killed before it created the manifest */
    free(text);
    close_fd(manifest);
    close_fd(outer);
}

/* Is it a name that output_target_temporary_name gives? `own` is one of them. */
static bool is_temporary_name(const char *name, const char *own)
{
    size_t n = strlen(own), suffix = 6;
    return strlen(name) == n && memcmp(name, own, n - suffix) == 0 &&
           strspn(name + n - suffix, "abcdefghijklmnopqrstuvwxyz0123456789") == suffix &&
           strcmp(name, own) != 0;
}

void temporary_folder_remove_abandoned(const struct temporary_folder *f,
                                       const struct output_target *target)
{
    DIR *dir = fs_open_folder(target->parent);
    for (struct dirent *d; dir && (d = readdir(dir));)
        if (is_temporary_name(d->d_name, f->name))
            remove_abandoned(target->parent, d->d_name, f->owner);
    if (dir)
        closedir(dir);
}
