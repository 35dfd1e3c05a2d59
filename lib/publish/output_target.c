#include "output_target.h"

#include "descriptor_path.h"
#include "fs.h"
#include "glob_pattern.h"
#include "mapped_file.h"
#include "printable.h"
#include "read_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define OVERHEAD   ((uint64_t)1 << 20) /* bytes for headers, folders and the file system itself */
#define LOCK_TRIES 500                 /* 5 seconds */

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

int output_target_check_name(const char *target, struct error *e)
{
    size_t end = strlen(target);
    while (end > 0 && target[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && target[start - 1] != '/')
        start--;
    const char *name = target + start;
    size_t n = end - start;
    if (n == 0 || (n <= 2 && strspn(name, ".") >= n))
        return error_set(e, "\"%s\" is not a valid name for a checkpoint", target);
    return reject_unsupported_file_ending(target, e);
}

int output_target_write_error(const struct output_target *t, const char *file, struct error *e)
{
    const char *reason = mapped_file_write_error(errno);
    if (t->form == OUTPUT_FOLDER && file)
        return error_set(e, "cannot write %s/%s: %s", t->path, file, reason);
    return error_set(e, "cannot write %s: %s", t->path, reason);
}

/* OUT/ is a folder. */
static int check_slash(const struct output_target *t, bool has_slash, struct error *e)
{
    struct stat st;
    if (!has_slash || fstatat(t->parent, t->name, &st, AT_SYMLINK_NOFOLLOW) ||
        S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode))
        return 0;
    return error_set(e,
                     "%s exists and is not a folder; leave out the slash after it, or write to "
                     "another OUT",
                     t->path);
}

/* Splits the path into the parent folder, which is returned, and the name in it. */
static const char *split_path(struct output_target *t, bool *has_slash)
{
    size_t n = strlen(t->path);
    *has_slash = n > 1 && t->path[n - 1] == '/';
    while (n > 1 && t->path[n - 1] == '/')
        t->path[--n] = '\0';
    char *slash = strrchr(t->path, '/');
    t->name = slash ? slash + 1 : t->path;
    if (!slash)
        return ".";
    return arena_copy_text_n(&t->arena, t->path, slash == t->path ? 1 : (size_t)(slash - t->path));
}

/* The folders of a path that do not exist, in t->made, and the one that they would be made in. */
static const char *list_missing_folders(struct output_target *t, const char *parent)
{
    struct stat st;
    const char *folder = parent;
    while (stat(folder, &st) && errno == ENOENT && strcmp(folder, ".") != 0) {
        t->made = mem_grow(t->made, t->n_made, sizeof *t->made);
        memmove(t->made + 1, t->made, t->n_made++ * sizeof *t->made);
        t->made[0] = arena_copy_text(&t->arena, folder);
        const char *slash = strrchr(folder, '/');
        while (slash > folder && slash[-1] == '/')
            slash--;
        folder = !slash ? "."
                        : arena_copy_text_n(&t->arena, folder,
                                            slash == folder ? 1 : (size_t)(slash - folder));
    }
    return folder;
}

static int make_missing_folders(struct output_target *t, const char *parent, struct error *e)
{
    list_missing_folders(t, parent);
    for (size_t i = 0; i < t->n_made; i++)
        if (mkdir(t->made[i], 0777) && errno != EEXIST)
            return error_set(e, "cannot create the folder %s: %s", t->made[i], strerror(errno));
    return 0;
}

static int open_parent(struct output_target *t, struct error *e)
{
    bool has_slash;
    const char *parent = split_path(t, &has_slash);
    if (make_missing_folders(t, parent, e))
        return -1;
    t->parent = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (t->parent < 0)
        return error_set(e, "cannot open folder %s: %s", parent, strerror(errno));
    if (strlen(t->name) > fs_name_max(t->parent))
        return error_set(e, "the name %.40s... is too long: it has %zu bytes, and %s accepts %zu",
                         t->name, strlen(t->name), parent, fs_name_max(t->parent));
    return check_slash(t, has_slash, e);
}

/* Pipes, devices and links to descriptors, such as /dev/stdout, belong to others and are never
 * replaced. */
static int check_target_is_no_device(const struct output_target *t, struct error *e)
{
    struct stat st;
    if (fstatat(t->parent, t->name, &st, AT_SYMLINK_NOFOLLOW) || S_ISREG(st.st_mode) ||
        S_ISDIR(st.st_mode))
        return 0;
    const char *kind = !S_ISLNK(st.st_mode)                 ? "a pipe, a socket or a device"
                       : descriptor_path_find(t->path) >= 0 ? "a link to a descriptor"
                                                            : NULL;
    return kind ? error_set(e,
                            "%s is %s, which is never replaced; write to another OUT (- is an "
                            "archive on standard output)",
                            t->path, kind)
                : 0;
}

int output_target_find_replaced(struct output_target *t, struct error *e)
{
    if (check_target_is_no_device(t, e))
        return -1;
    if (!t->force)
        return 0;
    if (t->guard.result && input_guard_check_read_files(t->path, e))
        return -1;
    bool is_known = replaced_target_is_checked_file(&t->replaced, t->parent, t->name);
    read_files_ignore(true); /* it is not read as an input */
    int found = replaced_target_check(&t->replaced, t->parent, t->name, t->path, e);
    read_files_ignore(false);
    if (found > 0 && !is_known && t->guard.result &&
        input_guard_check_content(&t->guard, t->path, e))
        return -1;
    return found;
}

int output_target_set_guard(struct output_target *t, const struct input_guard *guard,
                            struct error *e)
{
    replaced_target_free(&t->replaced);
    t->guard = *guard;
    return output_target_find_replaced(t, e) < 0 ? -1 : 0;
}

static bool is_empty_folder(const struct output_target *t)
{
    int fd = openat(t->parent, t->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    bool empty = dir != NULL;
    for (struct dirent *d; empty && (d = readdir(dir));)
        empty = strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0;
    if (dir)
        closedir(dir);
    return empty;
}

/* An empty folder is replaced as with `force`. */
static int check_target_may_be_written(struct output_target *t, struct error *e)
{
    t->force |= t->form == OUTPUT_FOLDER && is_empty_folder(t);
    struct stat st;
    int found = output_target_find_replaced(t, e);
    if (t->force || found < 0)
        return found < 0 ? -1 : 0;
    if (fstatat(t->parent, t->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return error_set(e, "%s exists already (--force replaces it)", t->path);
    return errno == ENOENT ? 0 : error_set(e, "cannot access %s: %s", t->path, strerror(errno));
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

int output_target_open(struct output_target *t, const char *path, bool force,
                       const struct input_guard *guard, struct error *e)
{
    *t = (struct output_target){
        .form = output_target_form_of_name(path), .force = force, .tool = "pack", .parent = -1};
    if (guard)
        t->guard = *guard;
    t->path = mem_copy_text(path);
    return output_target_check_name(path, e);
}

int output_target_open_parent(struct output_target *t, struct error *e)
{
    if (open_parent(t, e) || check_target_may_be_written(t, e))
        return -1;
    t->aside = output_target_temporary_name(t, "old");
    return 0;
}

int output_target_check_parent(struct output_target *t, const char **folder, struct error *e)
{
    bool has_slash;
    char *path = mem_copy_text(t->path); /* with a slash at its end */
    *folder = list_missing_folders(t, split_path(t, &has_slash));
    bool exists = t->n_made == 0;
    t->n_made = 0; /* nothing was made */
    free(t->path);
    t->path = path;
    if (exists)
        return output_target_open_parent(t, e);
    return access(*folder, W_OK | X_OK) == 0
               ? 0
               : error_set(e, "cannot create the folder %s: %s", t->made[0], strerror(errno));
}

void output_target_close(struct output_target *t)
{
    for (size_t i = t->n_made; i-- > 0;)
        rmdir(t->made[i]);
    free(t->made);
    if (t->parent >= 0)
        close(t->parent);
    free(t->path);
    free(t->aside);
    replaced_target_free(&t->replaced);
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

/* Is this name what was checked? */
static bool is_replaced(const struct output_target *t, int folder, const char *name)
{
    errno = EBUSY; /* another process replaced it */
    return replaced_target_is((const char *)t->replaced.records.data, t->replaced.records.size,
                              folder, name);
}

/* For file systems without RENAME_EXCHANGE. */
static int move_aside_and_rename(const struct output_target *t, int from, const char *name)
{
    const char *aside = t->aside;
    if (rename_without_replacing(t->parent, t->name, t->parent, aside))
        return -1;
    if (is_replaced(t, t->parent, aside) &&
        rename_without_replacing(from, name, t->parent, t->name) == 0)
        return 0;
    int reason = errno;
    rename_without_replacing(t->parent, aside, t->parent, t->name);
    errno = reason;
    return -1;
}

/* 1: the file system cannot exchange names. */
static int exchange_with_target(const struct output_target *t, int from, const char *name)
{
    if (renameat2(from, name, t->parent, t->name, RENAME_EXCHANGE))
        return is_unsupported_rename_error(errno) ? 1 : -1;
    if (is_replaced(t, from, name))
        return 0;
    int reason = errno;
    renameat2(from, name, t->parent, t->name, RENAME_EXCHANGE);
    errno = reason;
    return -1;
}

static int replace_target(const struct output_target *t, int from, const char *name,
                          int *old_folder, const char **old)
{
    int result = exchange_with_target(t, from, name);
    bool moved_aside = result > 0;
    if (moved_aside)
        result = move_aside_and_rename(t, from, name);
    *old_folder = moved_aside ? t->parent : from;
    *old = result ? NULL : moved_aside ? t->aside : name;
    return result;
}

int output_target_rename_into_place(const struct output_target *t, int from, const char *name,
                                    bool replaces, int *old_folder, const char **old,
                                    struct error *e)
{
    *old = NULL;
    int failed = replaces ? replace_target(t, from, name, old_folder, old)
                          : rename_without_replacing(from, name, t->parent, t->name);
    if (!failed)
        return 0;
    if (t->force && (errno == EBUSY || errno == EEXIST))
        return error_set(e, "another process has written %s meanwhile; it was not replaced",
                         t->path);
    return error_set(e, "cannot rename the finished checkpoint to %s: %s", t->path,
                     strerror(errno));
}

void output_target_remove_old(const struct output_target *t, int old_folder, const char *old)
{
    const char *left = t->aside;
    if (replaced_target_remove((const char *)t->replaced.records.data, t->replaced.records.size,
                               old_folder, old) == 0)
        return;
    if (old_folder != t->parent && rename_without_replacing(old_folder, old, t->parent, left))
        left = old;
    printable_warning(t->tool,
                      "%s is complete, but what it replaced had changed or could "
                      "not be removed; the rest of it is %s next to it",
                      t->path, left);
}

/* ---- locking --------------------------------------------------------------------------------- */

void output_target_lock(const struct output_target *t)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    for (int tries = 0; tries < LOCK_TRIES; tries++) {
        if (flock(t->parent, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
            return;
        nanosleep(&pause, NULL);
    }
}

void output_target_unlock(const struct output_target *t)
{
    flock(t->parent, LOCK_UN);
}

/* ---- afterwards ------------------------------------------------------------------------------ */

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
    const char *reason = strerror(errno);
    printable_warning(t->tool, "%s is complete, but %s next to it could not be removed: %s",
                      t->path, what, reason);
}
