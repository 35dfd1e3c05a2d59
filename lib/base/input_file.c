#include "input_file.h"

#include <errno.h>
#include <string.h>

int input_file_exists(const char *path, struct error *e)
{
    struct stat st;
    if (lstat(path, &st) == 0)
        return 1;
    if (errno == ENOENT || errno == ENOTDIR)
        return 0;
    return error_set(e, "cannot open %.300s: %s", path, strerror(errno));
}

struct input_file_version input_file_version(const struct stat *st)
{
    return (struct input_file_version){.device = st->st_dev,
                                       .inode = st->st_ino,
                                       .size = (uint64_t)st->st_size,
                                       .modified = st->st_mtim,
                                       .changed = st->st_ctim};
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static int check(const struct stat *st, const char *title, const struct input_file_version *before,
                 struct error *e)
{
    const struct input_file_version now = input_file_version(st);
    bool same = now.device == before->device && now.inode == before->inode &&
                now.size == before->size && is_same_time(&now.modified, &before->modified) &&
                is_same_time(&now.changed, &before->changed);
    return same ? 0 : error_set(e, "%.300s changed while it was read", title);
}

int input_file_check_unchanged(const char *path, const char *title,
                               const struct input_file_version *before, struct error *e)
{
    struct stat st;
    if (stat(path, &st) == 0)
        return check(&st, title, before, e);
    if (errno == ENOENT || errno == ENOTDIR)
        return error_set(e, "%.300s was removed while it was read", title);
    return error_set(e, "cannot read %.300s: %s", title, strerror(errno));
}

int input_file_check_unchanged_fd(int fd, const char *title,
                                  const struct input_file_version *before, struct error *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(e, "cannot read %.300s: %s", title, strerror(errno));
    return check(&st, title, before, e);
}
