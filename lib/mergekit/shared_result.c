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
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A signal handler has no other way to find these. */
static const char *_Atomic result_folder, *_Atomic result_file;
static _Atomic pid_t computing_process; /* 0: none */

static int fail(const struct config_command *c, const char *what, const char *reason)
{
    struct error e = {0};
    error_set(&e, "%s: %s", what, reason);
    return config_command_print_error(c, &e, 1);
}

/* ---- early ends ------------------------------------------------------------------------------ */

static void remove_result(void)
{
    unlink(result_file);
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
static int run_pipeline_in_child(const struct config_command *c, const struct pipeline_options *run,
                                 const struct pipeline *p, struct arena *a)
{
    int status;
    pid_t pid = start_process(run, p, a);
    if (pid < 0)
        return fail(c, "cannot start a process", strerror(errno));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return fail(c, "cannot wait for a process", strerror(errno));
    computing_process = 0;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    return fail(c, "the process that computes a document was ended by a signal",
                strsignal(WTERMSIG(status)));
}

/* Opens the result and removes its name and its folder, with all that a killed process left in it.
 * Returns -1 if there is no result. */
static int open_and_remove_result(void)
{
    int fd = open(result_file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), reason = errno;
    if (fs_remove_tree(AT_FDCWD, result_folder))
        printable_message("tv merge: warning: %s could not be removed: %s", result_folder,
                          strerror(errno));
    errno = reason;
    return fd;
}

/* Creates the private folder, whose name ends in XXXXXX, as the path of the file in it does. From
 * here on both are removed if the process ends. Returns -1 with the reason in errno. */
static int create_folder(char *folder, char *file)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failed = mkdtemp(folder) ? 0 : -1, reason = errno;
    if (!failed) {
        memcpy(file, folder, strlen(folder));
        result_folder = folder;
        result_file = file;
        ending_signals_catch(remove_result_on_signal);
        fatal_add_action(&on_fatal);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = reason;
    return failed;
}

int shared_result_compute(struct config_command *c, const struct pipeline_options *run,
                          const struct document_result *result)
{
    const char *spool = spool_folder_or_default(c->stage->common.spool);
    char *folder = arena_printf(&c->a, "%s/tvtools-XXXXXX", spool);
    char *file = arena_printf(&c->a, "%s/%s.safetensors", folder, result->name);
    if (create_folder(folder, file)) {
        const char *reason = strerror(errno);
        return fail(c, arena_printf(&c->a, "cannot create %s", folder), reason);
    }
    const struct pipeline *p = translated_config_pipeline_to_file(result, file, &c->a);
    int status = run_pipeline_in_child(c, run, p, &c->a);
    int fd = open_and_remove_result(), reason = errno;
    fatal_remove_action(&on_fatal);
    ending_signals_release(remove_result_on_signal);
    if (status)
        return status;
    if (fd < 0)
        return fail(c, arena_printf(&c->a, "cannot open %s", file), strerror(reason));
    translated_config_replace_result(&c->merge, result, arena_printf(&c->a, "/dev/fd/%d", fd),
                                     &c->a);
    return 0;
}
