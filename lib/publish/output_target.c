#include "output_target.h"

#include "fs.h"
#include "glob_pattern.h"

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

enum output_form output_target_form_of_name(const char *target)
{
    if (strcmp(target, "-") == 0 || glob_pattern_text_ends_with(target, ".tar"))
        return OUTPUT_TAR;
    if (glob_pattern_text_ends_with(target, ".tar.zst"))
        return OUTPUT_TAR_ZST;
    return glob_pattern_text_ends_with(target, ".safetensors") ? OUTPUT_SAFETENSORS : OUTPUT_FOLDER;
}

/* An ending of a format that cannot be written is an error and not the name of a folder. */
static int reject_unsupported_file_ending(const char *target, struct error *e)
{
    static const char *const others[] = {".zip", ".gz", ".tgz", ".xz",  ".zst",
                                         ".bin", ".pt", ".pth", ".gguf"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (glob_pattern_text_ends_with(target, others[i]) &&
            output_target_form_of_name(target) == OUTPUT_FOLDER)
            return error_set(e,
                             "cannot write \"%s\": %s is not supported; OUT must be a folder, "
                             ".safetensors, .tar or .tar.zst",
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
    return t->parent < 0 ? error_set(e, "cannot open folder %s: %s", parent, strerror(errno)) : 0;
}

static bool target_exists(const struct output_target *t)
{
    struct stat st;
    return fstatat(t->parent, t->name, &st, AT_SYMLINK_NOFOLLOW) == 0;
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
                      glob_pattern_text_ends_with(d->d_name, ".bin");
    }
    closedir(dir);
    return empty || checkpoint;
}

static int check_target_may_be_written(const struct output_target *t, struct error *e)
{
    if (!target_exists(t))
        return 0;
    if (!t->force)
        return error_set(e, "%s exists already (--force replaces it)", t->path);
    return is_replaceable_target(t)
               ? 0
               : error_set(e,
                           "%s is not a file, an empty folder or a checkpoint; "
                           "remove it first",
                           t->path);
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
    char suffix[7], *name;
    fs_random_suffix(suffix);
    if (asprintf(&name, ".%.200s.%s-%s", t->name, what, suffix) < 0)
        abort();
    return name;
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
    return open_parent(t, e) || check_target_may_be_written(t, e) ? -1 : 0;
}

void output_target_close(struct output_target *t)
{
    if (t->parent >= 0)
        close(t->parent);
    free(t->path);
    arena_free(&t->arena);
}

/* ---- renaming -------------------------------------------------------------------------------- */

static bool is_unsupported_rename_error(int number)
{
    return number == EINVAL || number == ENOSYS || number == EOPNOTSUPP;
}

static int rename_without_replacing(const struct output_target *t, int from, const char *temporary)
{
    if (renameat2(from, temporary, t->parent, t->name, RENAME_NOREPLACE) == 0)
        return 0;
    if (!is_unsupported_rename_error(errno))
        return -1;
    if (target_exists(t)) {
        errno = EEXIST;
        return -1;
    }
    return renameat(from, temporary, t->parent, t->name);
}

/* For file systems without RENAME_EXCHANGE. */
static int move_aside_and_rename(const struct output_target *t, int from, const char *temporary,
                                 struct replaced_output *replaced)
{
    char *aside = output_target_temporary_name(t, "old");
    if (renameat(t->parent, t->name, t->parent, aside) == 0) {
        if (renameat(from, temporary, t->parent, t->name) == 0) {
            *replaced = (struct replaced_output){aside, t->parent};
            return 0;
        }
        int reason = errno;
        renameat(t->parent, aside, t->parent, t->name);
        errno = reason;
    }
    free(aside);
    return -1;
}

static int exchange_with_target(const struct output_target *t, int from, const char *temporary,
                                struct replaced_output *replaced)
{
    if (renameat2(from, temporary, t->parent, t->name, RENAME_EXCHANGE) == 0) {
        *replaced = (struct replaced_output){mem_copy_text(temporary), from};
        return 0;
    }
    return is_unsupported_rename_error(errno) ? move_aside_and_rename(t, from, temporary, replaced)
                                              : -1;
}

int output_target_rename_into_place(const struct output_target *t, int from, const char *temporary,
                                    struct replaced_output *replaced, struct error *e)
{
    *replaced = (struct replaced_output){NULL, -1};
    bool replaces = t->force && target_exists(t);
    if (replaces ? exchange_with_target(t, from, temporary, replaced)
                 : rename_without_replacing(t, from, temporary))
        return error_set(e, "cannot rename the finished checkpoint to %s: %s", t->path,
                         strerror(errno));
    return 0;
}

int output_target_remove_replaced(const struct output_target *t, struct replaced_output *replaced,
                                  struct error *e)
{
    int failed = fsync(t->parent) ? output_target_write_error(t, NULL, e) : 0;
    if (replaced->name && fs_remove_tree(replaced->folder, replaced->name) && !failed)
        failed = error_set(e,
                           "%s was replaced, but the old one could not be removed; it is now %s in "
                           "the same folder",
                           t->path, replaced->name);
    free(replaced->name);
    replaced->name = NULL;
    return failed;
}
