#include "atomic_file.h"

#include "descriptor_path.h"
#include "fs.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define BEGINNING 4095 /* bytes that tell what an existing log is */

static int set_write_error(const char *path, int error_number, struct error *e)
{
    return error_set(e, "cannot write %s: %s", path, strerror(error_number));
}

/* ---- an existing file ------------------------------------------------------------------------ */

static int set_foreign_error(const char *path, struct error *e)
{
    return error_set(
        e,
        "cannot write %s: it exists and is not a file that this option wrote; write to "
        "another file, or remove it first",
        path);
}

/* 0: there is no file, or it may be replaced. A link is replaced itself. */
static int check_existing(const struct atomic_file *f, struct error *e)
{
    size_t size;
    if (f->folder < 0)
        return 0;
    char *text = fs_read_file(f->folder, f->name, &size);
    if (!text)
        return errno == ENOENT || errno == ELOOP ? 0 : set_write_error(f->path, errno, e);
    bool is_own = size == 0 || f->is_own(text, size);
    free(text);
    return is_own ? 0 : set_foreign_error(f->path, e);
}

/* ---- opening --------------------------------------------------------------------------------- */

static bool names_descriptor(const char *path)
{
    return descriptor_path_find(path) >= 0;
}

/* Opens what a descriptor of this process refers to, to append to it. One that is open for reading
 * is an input: EBADF. */
static int open_descriptor(const char *path)
{
    char name[32];
    int descriptor = descriptor_path_find(path);
    int flags = fcntl(descriptor, F_GETFL);
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY)
        return open(name, O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC);
    errno = EBADF;
    return -1;
}

static bool is_written_directly(const char *path)
{
    struct stat st;
    if (names_descriptor(path))
        return true;
    return lstat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode) &&
           !S_ISDIR(st.st_mode);
}

static int open_directly(const char *path)
{
    return names_descriptor(path) ? open_descriptor(path)
                                  : open(path, O_WRONLY | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
}

/* Opens the folder of the path. Returns -1 with the reason in errno. */
static int open_folder(struct atomic_file *f)
{
    const char *slash = strrchr(f->path, '/');
    char *folder = slash ? mem_copy_text(f->path) : mem_copy_text(".");
    struct stat st;
    if (slash)
        folder[slash == f->path ? 1 : slash - f->path] = '\0';
    f->name = mem_copy_text(slash ? slash + 1 : f->path);
    f->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    if (f->folder < 0)
        return -1;
    bool is_folder = !*f->name || (fstatat(f->folder, f->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                                   S_ISDIR(st.st_mode));
    errno = is_folder ? EISDIR : ENAMETOOLONG;
    return is_folder || strlen(f->name) > fs_name_max(f->folder) ? -1 : 0;
}

static char *make_temporary_name(const struct atomic_file *f)
{
    char suffix[7];
    fs_random_suffix(suffix);
    return mem_printf(".%.200s.partial-%s", f->name, suffix);
}

/* Removes files that a killed process of this user has left under a temporary name. */
static void remove_abandoned(const struct atomic_file *f)
{
    struct stat st;
    char *pattern = mem_printf(".%.200s.partial-", f->name);
    size_t n = strlen(pattern);
    DIR *dir = fs_open_folder(f->folder);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        if (strncmp(d->d_name, pattern, n) != 0 || strlen(d->d_name) != n + 6)
            continue;
        int fd = fs_open_regular_file(f->folder, d->d_name, &st);
        if (fd < 0)
            continue;
        if (st.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(f->folder, d->d_name, 0);
        close(fd);
    }
    if (dir)
        closedir(dir);
    free(pattern);
}

/* A file without a name, which the kernel removes if the process ends early; on file systems that
 * have none, one with a temporary name. */
static int open_temporary(struct atomic_file *f)
{
    if (open_folder(f))
        return -1;
    int fd = -1;
    if (access("/proc/self/fd", X_OK) == 0)
        fd = openat(f->folder, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    remove_abandoned(f);
    if (fd >= 0)
        return fd;
    f->temporary = make_temporary_name(f);
    fd = openat(f->folder, f->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0)
        flock(fd, LOCK_EX | LOCK_NB);
    return fd;
}

static void free_names(struct atomic_file *f)
{
    if (f->folder >= 0)
        close(f->folder);
    free(f->name);
    free(f->temporary);
    *f = (struct atomic_file){.folder = -1};
}

int atomic_file_open(struct atomic_file *f, const char *path, atomic_file_recognizer *is_own,
                     struct error *e)
{
    *f = (struct atomic_file){.path = path, .is_own = is_own, .folder = -1};
    int fd = is_written_directly(path) ? open_directly(path) : open_temporary(f);
    bool is_foreign = fd >= 0 && check_existing(f, e);
    if (fd >= 0 && !is_foreign && (f->out = fdopen(fd, "w")))
        return 0;
    if (!is_foreign)
        set_write_error(path, errno, e);
    if (fd >= 0) {
        close(fd);
        if (f->temporary)
            unlinkat(f->folder, f->temporary, 0);
    }
    free_names(f);
    return -1;
}

int atomic_file_check(const char *path, atomic_file_recognizer *is_own, struct error *e)
{
    struct atomic_file f;
    struct error ignored;
    if (is_written_directly(path) && !names_descriptor(path))
        return 0; /* opening a pipe may wait for its reader */
    return atomic_file_open(&f, path, is_own, e) ? -1 : atomic_file_close(&f, false, &ignored);
}

/* ---- closing --------------------------------------------------------------------------------- */

/* Gives the file its temporary name, and a lock, which says that its process is alive. Returns -1
 * with the reason in errno. */
static int name_file(struct atomic_file *f)
{
    char source[32];
    if (f->temporary || f->folder < 0)
        return 0;
    char *name = make_temporary_name(f);
    flock(fileno(f->out), LOCK_EX | LOCK_NB);
    snprintf(source, sizeof source, "/proc/self/fd/%d", fileno(f->out));
    if (linkat(AT_FDCWD, source, f->folder, name, AT_SYMLINK_FOLLOW) == 0)
        f->temporary = name;
    else
        free(name);
    return f->temporary ? 0 : -1;
}

/* An earlier write failed, and its reason is lost: another byte, in a file that is discarded, fails
 * for the same reason. */
static void find_reason_of_earlier_error(FILE *out)
{
    errno = 0;
    clearerr(out);
    putc('\n', out);
    fflush(out);
}

/* Returns -1 with the reason in errno. */
static int flush_and_sync(struct atomic_file *f)
{
    if (fflush(f->out) != 0)
        return -1;
    if (ferror(f->out)) {
        find_reason_of_earlier_error(f->out);
        return -1;
    }
    return f->folder >= 0 && fsync(fileno(f->out)) ? -1 : 0;
}

static int rename_into_place(struct atomic_file *f, struct error *e)
{
    if (f->folder < 0)
        return 0;
    if (check_existing(f, e)) /* it may have been created meanwhile */
        return -1;
    if (renameat(f->folder, f->temporary, f->folder, f->name))
        return set_write_error(f->path, errno, e);
    free(f->temporary);
    f->temporary = NULL;
    if (fsync(f->folder))
        return error_set(e, "%s was written, but its folder could not be synced to the disk: %s",
                         f->path, strerror(errno));
    return 0;
}

static int close_and_rename(struct atomic_file *f, bool ok, struct error *e)
{
    int failed = 0;
    errno = 0;
    if (ok && (flush_and_sync(f) || name_file(f)))
        failed = set_write_error(f->path, errno ? errno : EIO, e);
    if (fclose(f->out) != 0 && ok && !failed)
        failed = set_write_error(f->path, errno, e);
    if (ok && !failed)
        failed = rename_into_place(f, e);
    if (f->temporary)
        unlinkat(f->folder, f->temporary, 0);
    return failed;
}

/* Signals wait, so that none leaves the temporary name. */
int atomic_file_close(struct atomic_file *f, bool ok, struct error *e)
{
    sigset_t all, before;
    if (!f->out)
        return 0;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failed = close_and_rename(f, ok, e);
    free_names(f);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

/* ---- logs ------------------------------------------------------------------------------------ */

/* Is the open file empty, or a log that the same option wrote? */
static bool is_own_log(int fd, atomic_file_recognizer *is_own)
{
    char text[BEGINNING + 1];
    size_t size = 0;
    ssize_t n;
    while (size < BEGINNING && (n = pread(fd, text + size, BEGINNING - size, (off_t)size)) != 0) {
        if (n < 0 && errno != EINTR)
            return false;
        size += n > 0 ? (size_t)n : 0;
    }
    text[size] = '\0';
    return size == 0 || is_own(text, size);
}

/* Is it this user's file, or no file at all, and does it hold nothing that would be lost? */
static int check_log(int fd, const char *path, bool append, atomic_file_recognizer *is_own,
                     struct error *e)
{
    struct stat st;
    if (fstat(fd, &st))
        return set_write_error(path, errno, e);
    if (!S_ISREG(st.st_mode) || names_descriptor(path))
        return 0;
    if (st.st_uid != geteuid() || st.st_nlink != 1)
        return set_write_error(path, EPERM, e);
    if (st.st_size == 0)
        return 0;
    if (append)
        return is_own_log(fd, is_own) ? 0 : set_foreign_error(path, e);
    return error_set(e,
                     "cannot write %s: it exists and is not empty; write to another file, or "
                     "remove it first",
                     path);
}

/* A log that is read back must be readable; what is no file may be for writing only. */
static int open_log(const char *path, bool append)
{
    struct stat st;
    if (names_descriptor(path))
        return open_descriptor(path);
    bool reads = append && lstat(path, &st) == 0 && S_ISREG(st.st_mode);
    int access_mode = reads ? O_RDWR : O_WRONLY;
    return open(path, access_mode | O_CREAT | O_NOFOLLOW | O_APPEND | O_NOCTTY | O_CLOEXEC, 0666);
}

FILE *atomic_file_open_log(const char *path, bool append, atomic_file_recognizer *is_own,
                           struct error *e)
{
    int fd = open_log(path, append);
    if (fd < 0) {
        set_write_error(path, errno, e);
        return NULL;
    }
    FILE *f = check_log(fd, path, append, is_own, e) ? NULL : mem_check(fdopen(fd, "a"));
    if (!f)
        close(fd);
    return f;
}
