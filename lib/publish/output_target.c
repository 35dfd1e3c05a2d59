#include "output_target.h"

#include "fs.h"
#include "glob_pattern.h"
#include "printable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define OVERHEAD ((uint64_t)1 << 20) /* bytes for headers, folders and the file system itself */

static bool has_ending(const char *target, const char *ending)
{
    size_t n = strlen(target), m = strlen(ending);
    return n >= m && strcasecmp(target + n - m, ending) == 0;
}

enum output_form output_target_form_of_name(const char *target)
{
    if (strcmp(target, "-") == 0 || has_ending(target, ".tar"))
        return OUTPUT_TAR;
    if (has_ending(target, ".tar.zst"))
        return OUTPUT_TAR_ZST;
    if (has_ending(target, ".gguf"))
        return OUTPUT_GGUF;
    return has_ending(target, ".safetensors") ? OUTPUT_SAFETENSORS : OUTPUT_FOLDER;
}

/* An ending of a format that cannot be written is an error and not the name of a folder. */
static int reject_unsupported_file_ending(const char *target, struct error *e)
{
    static const char *const others[] = {
        ".zip",     ".gz",       ".tgz",    ".xz",  ".zst",   ".tzst",    ".txz",
        ".bz2",     ".7z",       ".rar",    ".bin", ".pt",    ".pth",     ".ckpt",
        ".pt2",     ".pkl",      ".npz",    ".npy", ".h5",    ".hdf5",    ".keras",
        ".msgpack", ".onnx",     ".tflite", ".pb",  ".ggml",  ".mlmodel", ".distcp",
        ".nemo",    ".pdparams", ".pte",    ".tvs", ".arrow", ".parquet",
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (has_ending(target, others[i]) && output_target_form_of_name(target) == OUTPUT_FOLDER)
            return error_set(e,
                             "cannot write \"%s\": %s is not supported; OUT must be a folder, "
                             ".safetensors, .gguf, .tar or .tar.zst",
                             target, others[i]);
    return 0;
}

int output_target_write_error(const struct output_target *t, const char *file, struct error *e)
{
    const char *reason = strerror(errno);
    if (t->form == OUTPUT_FOLDER && file)
        return error_set(e, "cannot write %s/%s: %s", t->path, file, reason);
    return error_set(e, "cannot write %s: %s", t->path, reason);
}

/* Splits the path into the parent folder and the name in it. */
static int open_parent(struct output_target *t, struct error *e)
{
    size_t n = strlen(t->path);
    while (n > 1 && t->path[n - 1] == '/')
        t->path[--n] = '\0';
    char *slash = strrchr(t->path, '/');
    t->name = slash ? slash + 1 : t->path;
    if (!*t->name || strcmp(t->name, ".") == 0 || strcmp(t->name, "..") == 0)
        return error_set(e, "\"%s\" is not a valid name for a checkpoint", t->path);
    const char *parent = ".";
    if (slash)
        parent =
            arena_copy_text_n(&t->arena, t->path, slash == t->path ? 1 : (size_t)(slash - t->path));
    t->parent = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (t->parent < 0)
        return error_set(e, "cannot open folder %s: %s", parent, strerror(errno));
    if (strlen(t->name) > fs_name_max(t->parent))
        return error_set(e, "the name %.40s... is too long: it has %zu bytes, and %s accepts %zu",
                         t->name, strlen(t->name), parent, fs_name_max(t->parent));
    return 0;
}

/* Is it something that --force may replace: a file, an empty folder or a checkpoint? */
static bool is_replaceable_target(const struct output_target *t)
{
    int fd = openat(t->parent, t->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct stat st;
    if (!dir) /* a device or a pipe may not */
        return fstatat(t->parent, t->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode));
    bool empty = true, checkpoint = false;
    for (struct dirent *d; (d = readdir(dir));) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        empty = false;
        checkpoint |= strcmp(d->d_name, "config.json") == 0 ||
                      glob_pattern_text_ends_with(d->d_name, ".safetensors") ||
                      glob_pattern_text_ends_with(d->d_name, ".gguf") ||
                      glob_pattern_text_ends_with(d->d_name, ".bin");
    }
    closedir(dir);
    return empty || checkpoint;
}

/* 1: there is a target; 0: there is none; -1: error. */
static int find_target(const struct output_target *t, struct stat *st, struct error *e)
{
    if (fstatat(t->parent, t->name, st, AT_SYMLINK_NOFOLLOW) == 0)
        return 1;
    return errno == ENOENT ? 0 : error_set(e, "cannot access %s: %s", t->path, strerror(errno));
}

int output_target_find_replaced(const struct output_target *t, struct stat *st, struct error *e)
{
    int found = find_target(t, st, e);
    if (found <= 0 || is_replaceable_target(t))
        return found;
    return error_set(e, "%s is not a file, an empty folder or a checkpoint; remove it first",
                     t->path);
}

static int check_target_may_be_written(const struct output_target *t, struct error *e)
{
    struct stat st;
    if (t->force)
        return output_target_find_replaced(t, &st, e) < 0 ? -1 : 0;
    int found = find_target(t, &st, e);
    return found > 0 ? error_set(e, "%s exists already (--force replaces it)", t->path) : found;
}

int output_target_check_space(const struct output_target *t, uint64_t need, struct error *e)
{
    struct statvfs st;
    if (fstatvfs(t->parent, &st) || st.f_blocks == 0) /* not known for this file system */
        return 0;
    uint64_t available = (uint64_t)st.f_bavail * st.f_frsize;
    uint64_t all = need < UINT64_MAX - OVERHEAD ? need + OVERHEAD : UINT64_MAX;
    if (all <= available)
        return 0;
    return error_set(e, "%s needs %.1f MB, but only %.1f MB are free", t->path, (double)all / 1e6,
                     (double)available / 1e6);
}

char *output_target_temporary_name(const struct output_target *t, const char *what)
{
    char suffix[7];
    size_t own = strlen(what) + sizeof ".." - 1 + sizeof suffix;
    int most = (int)(fs_name_max(t->parent) - own);
    fs_random_suffix(suffix);
    return mem_printf(".%.*s.%s-%s", most < 200 ? most : 200, t->name, what, suffix);
}

int output_target_open(struct output_target *t, const char *path, bool force, struct error *e)
{
    *t = (struct output_target){
        .form = output_target_form_of_name(path), .force = force, .parent = -1};
    t->path = mem_copy_text(path);
    return reject_unsupported_file_ending(path, e);
}

int output_target_open_parent(struct output_target *t, struct error *e)
{
    if (open_parent(t, e) || check_target_may_be_written(t, e))
        return -1;
    t->aside = output_target_temporary_name(t, "old");
    return 0;
}

void output_target_close(struct output_target *t)
{
    if (t->parent >= 0)
        close(t->parent);
    free(t->path);
    free(t->aside);
    arena_free(&t->arena);
}

/* ---- renaming -------------------------------------------------------------------------------- */

static bool is_unsupported_rename_error(int number)
{
    return number == EINVAL || number == ENOSYS || number == EOPNOTSUPP;
}

/* Renames to a name that must be free. */
static int rename_without_replacing(int from, const char *name, int to, const char *new_name)
{
    struct stat st;
    if (renameat2(from, name, to, new_name, RENAME_NOREPLACE) == 0)
        return 0;
    if (!is_unsupported_rename_error(errno))
        return -1;
    if (fstatat(to, new_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        errno = EEXIST;
    return errno == ENOENT ? renameat(from, name, to, new_name) : -1;
}

/* Is this name the file or folder that was checked? */
static bool is_same_file(int folder, const char *name, const struct stat *checked)
{
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW))
        return false;
    errno = EBUSY; /* another process replaced it */
    return st.st_dev == checked->st_dev && st.st_ino == checked->st_ino;
}

/* For file systems without RENAME_EXCHANGE. */
static int move_aside_and_rename(const struct output_target *t, int from, const char *name,
                                 const struct stat *replaced)
{
    const char *aside = t->aside;
    if (rename_without_replacing(t->parent, t->name, t->parent, aside))
        return -1;
    if (is_same_file(t->parent, aside, replaced) &&
        rename_without_replacing(from, name, t->parent, t->name) == 0)
        return 0;
    int reason = errno;
    rename_without_replacing(t->parent, aside, t->parent, t->name);
    errno = reason;
    return -1;
}

/* 1: the file system cannot exchange names. */
static int exchange_with_target(const struct output_target *t, int from, const char *name,
                                const struct stat *replaced)
{
    if (renameat2(from, name, t->parent, t->name, RENAME_EXCHANGE))
        return is_unsupported_rename_error(errno) ? 1 : -1;
    if (is_same_file(from, name, replaced))
        return 0;
    int reason = errno;
    renameat2(from, name, t->parent, t->name, RENAME_EXCHANGE);
    errno = reason;
    return -1;
}

static int replace_target(const struct output_target *t, int from, const char *name,
                          const struct stat *replaced, int *old_folder, const char **old)
{
    int result = exchange_with_target(t, from, name, replaced);
    bool moved_aside = result > 0;
    if (moved_aside)
        result = move_aside_and_rename(t, from, name, replaced);
    *old_folder = moved_aside ? t->parent : from;
    *old = result ? NULL : moved_aside ? t->aside : name;
    return result;
}

int output_target_rename_into_place(const struct output_target *t, int from, const char *name,
                                    const struct stat *replaced, int *old_folder, const char **old,
                                    struct error *e)
{
    *old = NULL;
    int failed = replaced ? replace_target(t, from, name, replaced, old_folder, old)
                          : rename_without_replacing(from, name, t->parent, t->name);
    return failed ? error_set(e, "cannot rename the finished checkpoint to %s: %s", t->path,
                              strerror(errno))
                  : 0;
}

int output_target_sync(const struct output_target *t, struct error *e)
{
    if (fsync(t->parent) == 0)
        return 0;
    return error_set(e,
                     "%s is published and complete, but its folder could not be synced to the "
                     "disk: %s",
                     t->path, strerror(errno));
}

void output_target_warn_not_removed(const struct output_target *t, const char *what)
{
    printable_message("tvtools: warning: %s is complete, but %s next to it could not be removed",
                      t->path, what);
}
