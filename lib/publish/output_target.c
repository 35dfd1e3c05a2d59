#include "output_target.h"

#include "fs.h"
#include "pattern.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SLACK ((uint64_t)1 << 20) /* for headers, folders and the file system's own needs */

enum output_form output_target_form(const char *target)
{
    if (strcmp(target, "-") == 0 || pattern_text_ends_with(target, ".tar"))
        return OUTPUT_TAR;
    if (pattern_text_ends_with(target, ".tar.zst"))
        return OUTPUT_TAR_ZST;
    return pattern_text_ends_with(target, ".safetensors") ? OUTPUT_SAFETENSORS : OUTPUT_FOLDER;
}

/* Endings that promise a file which is not written: no folder is called so by intent. */
static int check_ending(const char *target, struct error *e)
{
    static const char *const others[] = {".zip", ".gz", ".tgz", ".xz",  ".zst",
                                         ".bin", ".pt", ".pth", ".gguf"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (pattern_text_ends_with(target, others[i]) &&
            output_target_form(target) == OUTPUT_FOLDER)
            return error_set(e,
                             "\"%s\": no %s is written, but a folder, .safetensors, .tar or "
                             ".tar.zst",
                             target, others[i]);
    return 0;
}

int output_target_write_error(const struct output_target *t, const char *name, struct error *e)
{
    const char *why = strerror(errno);
    if (t->form == OUTPUT_FOLDER && name)
        return error_set(e, "cannot write %s/%s: %s", t->name, name, why);
    return error_set(e, "cannot write %s: %s", t->name, why);
}

/* Splits the target into the folder in which it lies and its name there. */
static int open_parent(struct output_target *t, struct error *e)
{
    size_t n = strlen(t->name);
    while (n > 1 && t->name[n - 1] == '/')
        t->name[--n] = '\0';
    char *slash = strrchr(t->name, '/');
    t->base = slash ? slash + 1 : t->name;
    if (!*t->base || strcmp(t->base, ".") == 0 || strcmp(t->base, "..") == 0)
        return error_set(e, "\"%s\" is no name for a new checkpoint", t->name);
    const char *parent = ".";
    if (slash)
        parent =
            arena_copy_text_n(&t->arena, t->name, slash == t->name ? 1 : (size_t)(slash - t->name));
    t->parent = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return t->parent < 0 ? error_set(e, "cannot open folder %s: %s", parent, strerror(errno)) : 0;
}

static bool output_target_exists(const struct output_target *t)
{
    struct stat st;
    return fstatat(t->parent, t->base, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* What --force may replace: a file, an empty folder, or one that looks like a checkpoint. */
static bool may_be_replaced(const struct output_target *t)
{
    int fd = openat(t->parent, t->base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct stat st;
    if (!dir) /* never a device or a pipe */
        return fstatat(t->parent, t->base, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode));
    bool empty = true, checkpoint = false;
    for (struct dirent *d; (d = readdir(dir));) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        empty = false;
        checkpoint |= strcmp(d->d_name, "config.json") == 0 ||
                      pattern_text_ends_with(d->d_name, ".safetensors") ||
                      pattern_text_ends_with(d->d_name, ".bin");
    }
    closedir(dir);
    return empty || checkpoint;
}

static int check_target(const struct output_target *t, struct error *e)
{
    if (!output_target_exists(t))
        return 0;
    if (!t->force)
        return error_set(e, "%s exists already (--force replaces it)", t->name);
    return may_be_replaced(t) ? 0
                              : error_set(e,
                                          "%s is neither a file nor a folder that looks like "
                                          "a checkpoint; remove it first",
                                          t->name);
}

int output_target_check_space(const struct output_target *t, uint64_t need, struct error *e)
{
    struct statvfs st;
    if (fstatvfs(t->parent, &st) || st.f_blocks == 0) /* a file system that does not say */
        return 0;
    uint64_t room = (uint64_t)st.f_bavail * st.f_frsize;
    uint64_t all = need < UINT64_MAX - SLACK ? need + SLACK : UINT64_MAX;
    if (all <= room)
        return 0;
    return error_set(e, "%s needs %.1f MB, but only %.1f MB are free there", t->name,
                     (double)all / 1e6, (double)room / 1e6);
}

char *output_target_temporary_name(const struct output_target *t, const char *what)
{
    char suffix[7], *name;
    fs_random_suffix(suffix);
    if (asprintf(&name, ".%.200s.%s-%s", t->base, what, suffix) < 0)
        abort();
    return name;
}

int output_target_open(struct output_target *t, const char *name, bool force, struct error *e)
{
    *t = (struct output_target){.form = output_target_form(name), .force = force, .parent = -1};
    t->name = mem_copy_text(name);
    return check_ending(name, e);
}

int output_target_open_parent(struct output_target *t, struct error *e)
{
    return open_parent(t, e) || check_target(t, e) ? -1 : 0;
}

void output_target_close(struct output_target *t)
{
    if (t->parent >= 0)
        close(t->parent);
    free(t->name);
    arena_free(&t->arena);
}

/* ---- putting in place ------------------------------------------------------------------------ */

static bool is_unsupported(int number)
{
    return number == EINVAL || number == ENOSYS || number == EOPNOTSUPP;
}

static int place_new(const struct output_target *t, int from, const char *made)
{
    if (renameat2(from, made, t->parent, t->base, RENAME_NOREPLACE) == 0)
        return 0;
    if (!is_unsupported(errno))
        return -1;
    if (output_target_exists(t)) {
        errno = EEXIST;
        return -1;
    }
    return renameat(from, made, t->parent, t->base);
}

/* On success what was there before is called *old. */
static int exchange(const struct output_target *t, int from, const char *made, char **old,
                    int *old_folder)
{
    *old_folder = from;
    if (renameat2(from, made, t->parent, t->base, RENAME_EXCHANGE) == 0) {
        *old = mem_copy_text(made);
        return 0;
    }
    if (!is_unsupported(errno))
        return -1;
    *old_folder = t->parent;
    char *aside = output_target_temporary_name(t, "old");
    if (renameat(t->parent, t->base, t->parent, aside) == 0) {
        if (renameat(from, made, t->parent, t->base) == 0) {
            *old = aside;
            return 0;
        }
        int why = errno;
        renameat(t->parent, aside, t->parent, t->base);
        errno = why;
    }
    free(aside);
    return -1;
}

int output_target_rename_into_place(const struct output_target *t, int from, const char *made,
                                    char **old, int *old_folder, struct error *e)
{
    *old = NULL;
    bool replaces = t->force && output_target_exists(t);
    if (replaces ? exchange(t, from, made, old, old_folder) : place_new(t, from, made))
        return error_set(e, "cannot put %s in place: %s", t->name, strerror(errno));
    return 0;
}

int output_target_remove_replaced(const struct output_target *t, char *old, int old_folder,
                                  struct error *e)
{
    int failed = fsync(t->parent) ? output_target_write_error(t, NULL, e) : 0;
    if (old && fs_remove_tree(old_folder, old) && !failed)
        failed = error_set(e,
                           "%s is in place, but the old one could not be removed: it is %s "
                           "beside it now",
                           t->name, old);
    free(old);
    return failed;
}
