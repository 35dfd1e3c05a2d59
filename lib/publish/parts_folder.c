#include "parts_folder.h"

#include "fs.h"
#include "glob_pattern.h"

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

int parts_folder_write_error(const struct parts_folder *f, const char *name, struct error *e)
{
    return error_set(e, "cannot write %s in %s: %s", name, f->name, strerror(errno));
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
        if (!glob_pattern_matches(".*.safetensors.??????", d->d_name))
            continue;
        int fd = openat(f->folder, d->d_name, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(f->folder, d->d_name, 0);
        close_if_open(fd);
    }
    if (dir)
        closedir(dir);
}

/* A file system without locks is used without them. */
static int lock_folder(struct parts_folder *f, bool shared, struct error *e)
{
    f->lock = openat(f->folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (f->lock < 0)
        return parts_folder_write_error(f, "lock", e);
    if (flock(f->lock, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return 0;
    return error_set(e, "another process is %s %s", shared ? "publishing" : "still working on",
                     f->target.path);
}

static int report_missing_parts(const struct parts_folder *f, struct error *e)
{
    return error_set(e, "%s has no parts: there is no folder %s", f->target.path, f->name);
}

static int open_folder(struct parts_folder *f, bool create, bool shared, struct error *e)
{
    const struct output_target *target = &f->target;
    if (asprintf(&f->name, ".%.240s.parts", target->name) < 0)
        abort();
    if (create && mkdirat(target->parent, f->name, 0777) && errno != EEXIST)
        return error_set(e, "cannot create the folder %s next to %s: %s", f->name, target->path,
                         strerror(errno));
    f->folder = openat(target->parent, f->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->folder < 0)
        return errno == ENOENT ? report_missing_parts(f, e)
                               : error_set(e, "cannot open %s next to %s: %s", f->name,
                                           target->path, strerror(errno));
    if (lock_folder(f, shared, e))
        return -1;
    if (create && mkdirat(f->folder, "model", 0777) && errno != EEXIST)
        return parts_folder_write_error(f, "model", e);
    remove_abandoned_temporary_files(f);
    f->model = openat(f->folder, "model", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return f->model < 0 ? report_missing_parts(f, e) : 0;
}

int parts_folder_open(struct parts_folder *f, const char *target, bool force, bool create,
                      bool shared, struct error *e)
{
    *f = (struct parts_folder){.folder = -1, .model = -1, .lock = -1};
    if (output_target_open(&f->target, target, force, e))
        return -1;
    if (f->target.form != OUTPUT_FOLDER)
        return error_set(e, "\"%s\": a merge in parts can only write a folder", target);
    return output_target_open_parent(&f->target, e) || open_folder(f, create, shared, e) ? -1 : 0;
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

int parts_folder_create_temporary(const struct parts_folder *f, const char *shard, char **temporary)
{
    struct stat st;
    for (*temporary = NULL;;) {
        char suffix[7];
        fs_random_suffix(suffix);
        free(*temporary);
        if (asprintf(temporary, ".%s.%s", shard, suffix) < 0)
            abort();
        int fd = openat(f->folder, *temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0) {
            int reason = errno;
            free(*temporary);
            *temporary = NULL;
            errno = reason;
            return -1;
        }
        /* Before it was locked, another process may have removed it as abandoned. */
        bool taken = flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
        if (!taken && fstat(fd, &st) == 0 && st.st_nlink > 0)
            return fd;
        close(fd);
        unlinkat(f->folder, *temporary, 0);
    }
}

/* ---- publishing ------------------------------------------------------------------------------ */

static int rename_model_and_remove_folder(struct parts_folder *f, struct error *e)
{
    struct replaced_output replaced;
    if (output_target_rename_into_place(&f->target, f->folder, "model", &replaced, e))
        return -1;
    int failed = output_target_remove_replaced(&f->target, &replaced, e);
    if (fs_remove_tree(f->target.parent, f->name) && !failed)
        failed = error_set(e, "%s is complete, but the folder %s next to it could not be removed",
                           f->target.path, f->name);
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
