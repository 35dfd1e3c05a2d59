#include "shared_result.h"

#include "ending_signals.h"
#include "fatal.h"
#include "fs.h"
#include "printable.h"
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

/* A signal handler has no other way to find these. */
static const char *_Atomic result_folder, *_Atomic result_file, *_Atomic result_lock;
static _Atomic pid_t computing_process; /* 0: none */

#define PREFIX "tvtools-"
#define LOCK   "lock" /* held by the processes at work */
#define TITLE  "tvtools: a result that other documents use\n"

static int fail(const char *tool, const char *what, const char *reason)
{
    printable_message("%s: %s: %s", tool, what, reason);
    return 1;
}

/* ---- early ends ------------------------------------------------------------------------------ */

static void remove_result(void)
{
    unlink(result_file);
    unlink(result_lock);
    rmdir(result_folder);
}

static void remove_result_on_signal(int signal_number)
{
    pid_t child = computing_process;
    if (child)
        kill(child, signal_number);
    while (child && waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    remove_result();
    ending_signals_raise(signal_number);
}

static void remove_result_on_fatal(void *unused, const char *program, const char *sentence)
{
    remove_result();
}

static struct fatal_action on_fatal = {.run = remove_result_on_fatal};

/* ---- what killed processes left -------------------------------------------------------------- */

/* Is it a folder that create_folder made, and does no process hold its lock? Returns the lock,
 * which is now held, or -1. */
static int lock_abandoned(int folder)
{
    struct stat st;
    size_t size;
    int fd = fs_open_regular_file(folder, LOCK, &st);
    if (fd < 0)
        return -1;
    char *text = fs_read_file(folder, LOCK, &size);
    bool ours = text && strcmp(text, TITLE) == 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
    free(text);
    if (ours)
        return fd;
    close(fd);
    return -1;
}

static void remove_abandoned(const char *spool)
{
    int parent = open(spool, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = parent < 0 ? NULL : fdopendir(parent);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        if (strncmp(d->d_name, PREFIX, strlen(PREFIX)) != 0 ||
            strlen(d->d_name) != strlen(PREFIX) + 6)
            continue;
        int folder = fs_open_own_folder(parent, d->d_name, geteuid());
        int lock = folder < 0 ? -1 : lock_abandoned(folder);
        if (lock >= 0) {
            fs_remove_tree(parent, d->d_name);
            close(lock);
        }
        if (folder >= 0)
            close(folder);
    }
    if (dir)
        closedir(dir);
    else if (parent >= 0)
        close(parent);
}

/* ---- computing ------------------------------------------------------------------------------- */

static pid_t start_process(const struct pipeline_options *run, const struct pipeline *p,
                           struct arena *a)
{
    sigset_t all, before;
    fflush(NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before); /* until it is known which process to end */
    pid_t pid = fork();
    if (pid > 0)
        computing_process = pid;
    if (pid == 0) {
        ending_signals_release(remove_result_on_signal);
        fatal_remove_action(&on_fatal);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid == 0)
        exit(pipeline_run(run, p, a));
    return pid;
}

/* Runs a pipeline in a child process; returns its exit status. */
static int run_pipeline_in_child(const char *tool, const struct pipeline_options *run,
                                 const struct pipeline *p, struct arena *a)
{
    int status;
    pid_t pid = start_process(run, p, a);
    if (pid < 0)
        return fail(tool, "cannot start a process", strerror(errno));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return fail(tool, "cannot wait for a process", strerror(errno));
    computing_process = 0;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    return fail(tool, "the process that computes a document was ended by a signal",
                strsignal(WTERMSIG(status)));
}

/* Opens the result and removes its name and its folder, with all that a killed process left in it.
 * Returns -1 if there is no result. */
static int open_and_remove_result(void)
{
    int fd = open(result_file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), reason = errno;
    if (fs_remove_tree(AT_FDCWD, result_folder))
        printable_warning("tv merge", "%s could not be removed: %s", result_folder,
                          strerror(errno));
    errno = reason;
    return fd;
}

static int create_lock(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    flock(fd, LOCK_EX | LOCK_NB);
    if (fs_write_at(fd, 0, TITLE, strlen(TITLE)) == 0)
        return fd;
    int reason = errno;
    close(fd);
    unlink(path);
    errno = reason;
    return -1;
}

/* Creates the private folder, whose name ends in XXXXXX, as the paths of the files in it do. From
 * here on all are removed if the process ends. Returns the lock, or -1 with the reason in errno. */
static int create_folder(char *folder, char *file, char *lock)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int fd = -1;
    if (mkdtemp(folder)) {
        memcpy(file, folder, strlen(folder));
        memcpy(lock, folder, strlen(folder));
        fd = create_lock(lock);
        if (fd < 0)
            rmdir(folder);
    }
    int reason = errno;
    if (fd >= 0) {
        result_folder = folder;
        result_file = file;
        result_lock = lock;
        ending_signals_catch(remove_result_on_signal);
        fatal_add_action(&on_fatal);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = reason;
    return fd;
}

int shared_result_compute(struct translated_config *m, const struct document_result *result,
                          const struct pipeline_options *run, const char *tool, struct arena *a)
{
    const char *spool = spool_folder_or_default(run->spool);
    char *folder = arena_printf(a, "%s/" PREFIX "XXXXXX", spool);
    char *file = arena_printf(a, "%s/%s.safetensors", folder, result->name);
    remove_abandoned(spool);
    int lock = create_folder(folder, file, arena_printf(a, "%s/" LOCK, folder));
    if (lock < 0) {
        const char *reason = strerror(errno);
        return fail(tool, arena_printf(a, "cannot create %s", folder), reason);
    }
    const struct pipeline *p = translated_config_pipeline_to_file(result, file, a);
    int status = run_pipeline_in_child(tool, run, p, a);
    int fd = open_and_remove_result(), reason = errno;
    close(lock);
    fatal_remove_action(&on_fatal);
    ending_signals_release(remove_result_on_signal);
    if (status)
        return status;
    if (fd < 0)
        return fail(tool, arena_printf(a, "cannot open %s", file), strerror(reason));
    translated_config_replace_result(m, result, arena_printf(a, "/dev/fd/%d", fd), a);
    return 0;
}
