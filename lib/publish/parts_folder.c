#include "parts_folder.h"

#include "fs.h"
#include "glob_pattern.h"
#include "hash.h"
#include "weight_names.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK     "lock"
#define MODEL    "model"
#define REPLACED "replaced"

#define TAKEN     (-2)
#define TRIES_MAX 100

int parts_folder_write_error(const struct parts_folder *f, const char *name, struct error *e)
{
    return error_set(e, "cannot write %s in %s: %s", name, f->name, strerror(errno));
}

int parts_folder_read_error(const struct parts_folder *f, const char *name, struct error *e)
{
    return error_set(e, "cannot read %s in %s: %s", name, f->name, strerror(errno));
}

int parts_folder_read_file(const struct parts_folder *f, const char *name, char **bytes,
                           size_t *size, struct error *e)
{
    *size = 0;
    *bytes = fs_read_file(f->folder, name, size);
    return *bytes || fs_is_missing(errno) ? 0 : parts_folder_read_error(f, name, e);
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Removes temporary files of killed processes, which no process holds locked. */
static void remove_abandoned_temporary_files(const struct parts_folder *f)
{
    DIR *dir = fs_open_folder(f->folder);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        struct stat st;
        if (!glob_pattern_matches(".model*.safetensors.??????", d->d_name))
            continue;
        int fd = fs_open_regular_file(f->folder, d->d_name, &st);
        if (fd >= 0 && st.st_uid == f->owner && flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(f->folder, d->d_name, 0);
        close_if_open(fd);
    }
    if (dir)
        closedir(dir);
}

int parts_folder_foreign_error(const struct parts_folder *f, const char *subfolder,
                               const char *name, struct error *e)
{
    return error_set(e, "%s%s contains %s, which no merge has written; move it elsewhere", f->name,
                     subfolder, name);
}

/* The first entry of the folder in alphabetical order, for the caller to free; NULL: it is empty.
 */
static char *find_first_entry(const struct parts_folder *f)
{
    char *first = NULL;
    DIR *dir = fs_open_folder(f->folder);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        bool is_entry = strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
        if (!is_entry || (first && strcmp(first, d->d_name) <= 0))
            continue;
        free(first);
        first = mem_copy_text(d->d_name);
    }
    if (dir)
        closedir(dir);
    return first;
}

/* A merge creates the lock first and removes it last: without it only an empty folder is one of a
 * merge. Another process may create it at the same time. */
static int open_lock(struct parts_folder *f, bool create, struct error *e)
{
    int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    f->lock = openat(f->folder, LOCK, flags);
    char *first = f->lock < 0 && errno == ENOENT ? find_first_entry(f) : NULL;
    if (f->lock < 0 && errno == ENOENT)
        f->lock = openat(f->folder, LOCK, flags | (create && !first ? O_CREAT : 0), 0666);
    int reason = errno, failed = 0;
    if (f->lock < 0)
        failed = first ? parts_folder_foreign_error(f, "", first, e)
                 : reason != ENOENT
                     ? error_set(e, "cannot write " LOCK " in %s: %s", f->name, strerror(reason))
                     : error_set(e, "%s has no parts: %s is empty", f->target.path, f->name);
    free(first);
    return failed;
}

/* A file system without locks is used without them. */
static int lock_folder(struct parts_folder *f, bool shared, struct error *e)
{
    struct stat st;
    if (fstat(f->lock, &st) || !S_ISREG(st.st_mode) || st.st_size > 0)
        return parts_folder_foreign_error(f, "", LOCK, e);
    if (flock(f->lock, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return 0;
    return error_set(e, "another process is %s %s", shared ? "publishing" : "still working on",
                     f->target.path);
}

static int report_missing_parts(const struct parts_folder *f, struct error *e)
{
    return error_set(e, "%s has no parts: there is no folder %s", f->target.path, f->name);
}

static int open_error(const struct parts_folder *f, const char *name, struct error *e)
{
    if (errno == ENOENT)
        return report_missing_parts(f, e);
    if (errno == ENOTDIR || errno == ELOOP)
        return error_set(e, "%s next to %s is not a folder but a file or a link", name,
                         f->target.path);
    if (errno == EPERM)
        return error_set(e, "%s next to %s belongs to another user", name, f->target.path);
    return error_set(e, "cannot open %s next to %s: %s", name, f->target.path, strerror(errno));
}

/* Creates the folder if it is to be created, and opens it. */
static int open_own_folder(struct parts_folder *f, bool create, struct error *e)
{
    int parent = f->target.parent;
    if (create && mkdirat(parent, f->name, 0777) && errno != EEXIST)
        return error_set(e, "cannot create the folder %s next to %s: %s", f->name, f->target.path,
                         strerror(errno));
    f->owner = geteuid();
    f->folder = fs_open_own_folder(parent, f->name, f->owner);
    if (f->folder < 0 && errno == EPERM) {
        f->owner = fs_own_user(parent);
        f->folder = fs_open_own_folder(parent, f->name, f->owner);
    }
    return f->folder < 0 ? open_error(f, f->name, e) : 0;
}

static int open_model(struct parts_folder *f, bool create, struct error *e)
{
    if (create && mkdirat(f->folder, MODEL, 0777) && errno != EEXIST)
        return parts_folder_write_error(f, MODEL, e);
    f->model = fs_open_own_folder(f->folder, MODEL, f->owner);
    if (f->model >= 0)
        return 0;
    char *path = mem_printf("%s/%s", f->name, MODEL);
    open_error(f, path, e);
    free(path);
    return -1;
}

/* A process that was killed after it had published left what it replaced in place of model/. */
static void remove_replaced(const struct parts_folder *f)
{
    size_t size;
    char *records = fs_read_file(f->folder, REPLACED, &size);
    if (records && replaced_target_is(records, size, f->folder, MODEL) &&
        flock(f->lock, LOCK_EX | LOCK_NB) == 0)
        replaced_target_remove(records, size, f->folder, MODEL);
    free(records);
}

static int open_folder(struct parts_folder *f, bool create, bool shared, struct error *e)
{
    const struct output_target *target = &f->target;
    f->name = mem_printf(".%s.parts", target->name);
    if (strlen(f->name) > fs_name_max(target->parent))
        return error_set(e,
                         "the name %.40s... is too long for a merge in parts: it has %zu bytes, "
                         "and %zu are left beside . and .parts",
                         target->name, strlen(target->name), fs_name_max(target->parent) - 7);
    if (open_own_folder(f, create, e) || open_lock(f, create, e) || lock_folder(f, shared, e))
        return -1;
    remove_replaced(f);
    if (lock_folder(f, shared, e) || open_model(f, create, e))
        return -1;
    remove_abandoned_temporary_files(f);
    return 0;
}

int parts_folder_check_target(const char *target, struct error *e)
{
    return output_target_form_of_name(target) == OUTPUT_FOLDER
               ? 0
               : error_set(e, "\"%s\": a merge in parts can only write a folder", target);
}

int parts_folder_open(struct parts_folder *f, const char *target, bool force,
                      const struct input_guard *guard, bool create, bool shared, struct error *e)
{
    *f = (struct parts_folder){.folder = -1, .model = -1, .lock = -1};
    return output_target_open(&f->target, target, force, guard, e) ||
                   parts_folder_check_target(target, e) ||
                   output_target_open_parent(&f->target, e) || open_folder(f, create, shared, e)
               ? -1
               : 0;
}

void parts_folder_close(struct parts_folder *f)
{
    close_if_open(f->model);
    close_if_open(f->lock);
    close_if_open(f->folder);
    output_target_close(&f->target);
    free(f->name);
}

/* ---- temporary files ------------------------------------------------------------------------- */

/* Creates and locks a file. Returns its descriptor; -1 with the reason in errno; TAKEN if another
 * process has removed it as abandoned before it was locked. */
static int create_locked(const struct parts_folder *f, const char *name)
{
    struct stat st;
    int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(f->folder, name, flags, 0666);
    if (fd < 0)
        return -1;
    bool taken = flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
    int reason = fstat(fd, &st) ? errno : 0;
    if (!taken && !reason && st.st_nlink > 0)
        return fd;
    close(fd);
    unlinkat(f->folder, name, 0);
    errno = reason;
    return reason ? -1 : TAKEN;
}

int parts_folder_create_temporary(const struct parts_folder *f, const char *shard, char **temporary)
{
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        char suffix[7];
        fs_random_suffix(suffix);
        *temporary = mem_printf(".%s.%s", shard, suffix);
        int fd = create_locked(f, *temporary);
        if (fd >= 0)
            return fd;
        int reason = errno;
        free(*temporary);
        *temporary = NULL;
        errno = reason;
        if (fd != TAKEN)
            return -1;
    }
    errno = EEXIST;
    return -1;
}

/* ---- headers of shards ----------------------------------------------------------------------- */

/* Reads the header of a shard and its size back. */
static int check_header(const struct parts_folder *f, const struct shard *s, struct error *e)
{
    struct stat st;
    uint64_t size, hash;
    int fd = fs_open_regular_file(f->model, s->name, &st);
    if (fd < 0)
        return parts_folder_read_error(f, s->name, e);
    int failed = fs_hash_range(fd, 0, s->header_size, &size, &hash);
    close(fd);
    if (failed)
        return parts_folder_read_error(f, s->name, e);
    if (hash == XXH3_64bits(s->header, s->header_size) &&
        (uint64_t)st.st_size == s->header_size + s->data_size)
        return 0;
    return error_set(e, "cannot write %s in %s: its contents on the disk differ", s->name, f->name);
}

int parts_folder_write_header(const struct parts_folder *f, const struct shard *s, struct error *e)
{
    int fd = fs_open_for_writing(f->model, s->name), failed = 0;
    if (fd < 0 || fs_write_at(fd, 0, s->header, s->header_size) || fsync(fd))
        failed = parts_folder_write_error(f, s->name, e);
    if (fd >= 0 && close(fd) && !failed)
        failed = parts_folder_write_error(f, s->name, e);
    return failed ? failed : check_header(f, s, e);
}

/* ---- publishing ------------------------------------------------------------------------------ */

static bool matches_any(const char *const *patterns, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (glob_pattern_matches(patterns[i], name))
            return true;
    return false;
}

/* SHARD.json (shard_records.h) */
static bool is_record(const char *name)
{
    char shard[64];
    size_t n = strlen(name), ending = strlen(".json");
    if (n < ending || n - ending >= sizeof shard || strcmp(name + n - ending, ".json") != 0)
        return false;
    snprintf(shard, sizeof shard, "%.*s", (int)(n - ending), name);
    return weight_names_is_shard(shard);
}

/* Is it one of the files in the folder itself, except the lock? */
static bool is_work_file(const char *name)
{
    static const char *const patterns[] = {"plan",
                                           "header",
                                           "files",
                                           REPLACED,
                                           "auxiliary-files.json",
                                           ".plan.??????",
                                           ".header.??????",
                                           ".files.??????",
                                           "." REPLACED ".??????",
                                           ".auxiliary-files.json.??????",
                                           ".model*.safetensors*.??????",
                                           ".diffusion_pytorch_model*.safetensors*.??????"};
    return matches_any(patterns, sizeof patterns / sizeof *patterns, name) || is_record(name);
}

/* Removes the files of the folder, and the folder if nothing else is in it. */
static int remove_folder(const struct parts_folder *f, DIR *dir)
{
    for (struct dirent *d; (d = readdir(dir));)
        if (is_work_file(d->d_name) && fs_is_own_file(f->folder, d->d_name, f->owner))
            unlinkat(f->folder, d->d_name, 0);
    unlinkat(f->folder, LOCK, 0);
    return unlinkat(f->target.parent, f->name, AT_REMOVEDIR);
}

/* Records what model/ will be exchanged for. */
static int save_replaced(const struct parts_folder *f, struct error *e)
{
    const struct bytes *records = &f->target.replaced.records;
    return fs_replace_file(f->folder, REPLACED, records->data, records->size)
               ? parts_folder_write_error(f, REPLACED, e)
               : 0;
}

static int rename_model(struct parts_folder *f, int *old_folder, const char **old, struct error *e)
{
    int replaces = output_target_find_replaced(&f->target, e);
    if (replaces < 0 || (replaces && save_replaced(f, e)))
        return -1;
    return output_target_rename_into_place(&f->target, f->folder, MODEL, replaces, old_folder, old,
                                           e);
}

static int rename_model_and_remove_folder(struct parts_folder *f, struct error *e)
{
    int old_folder;
    const char *old = NULL;
    DIR *dir = fs_open_folder(f->folder);
    if (!dir)
        return parts_folder_read_error(f, ".", e);
    output_target_lock(&f->target);
    int failed = rename_model(f, &old_folder, &old, e);
    output_target_unlock(&f->target);
    if (failed) {
        closedir(dir);
        return -1;
    }
    failed = output_target_sync(&f->target, e);
    if (old)
        output_target_remove_old(&f->target, old_folder, old);
    if (remove_folder(f, dir))
        output_target_warn_not_removed(&f->target, f->name);
    closedir(dir);
    return failed;
}

int parts_folder_publish(struct parts_folder *f, struct error *e)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failed = rename_model_and_remove_folder(f, e);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}
