#include "pipeline_result.h"

#include "printable.h"
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int fail(const char *tool, const char *what, const char *reason)
{
    printable_message("%s: %s: %s", tool, what, reason);
    return 1;
}

/* -1 on error, which is printed. */
static int open_file(const struct pipeline_result_options *o)
{
    struct error e;
    int fd = o->in_memory ? memfd_create("tvtools", MFD_CLOEXEC)
                          : spool_open_temporary_file(o->spool, &e);
    if (fd < 0 && o->in_memory)
        fail(o->tool, "cannot create a file in memory", strerror(errno));
    else if (fd < 0)
        printable_message("%s: %s", o->tool, e.text);
    return fd;
}

/* ---- the child ------------------------------------------------------------------------------- */

/* What the child process has as standard input, output and error. */
struct descriptors {
    int input, output, messages; /* messages -1: standard error stays */
};

/* Makes `to` a copy of descriptor `from`, or ends the process. */
static void copy_descriptor(int from, int to, const char *tool)
{
    while (dup2(from, to) < 0)
        if (errno != EINTR)
            _exit(fail(tool, "cannot connect the pipeline", strerror(errno)));
}

static _Noreturn void run_child(const struct descriptors *d, pid_t parent, const char *tool,
                                const struct pipeline_options *run, const struct pipeline *pipeline,
                                struct arena *a)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1);
    copy_descriptor(d->input, STDIN_FILENO, tool);
    copy_descriptor(d->output, STDOUT_FILENO, tool);
    if (d->messages >= 0)
        copy_descriptor(d->messages, STDERR_FILENO, tool);
    exit(pipeline_run(run, pipeline, a));
}

/* Waits for the child; returns its exit status. */
static int wait_for_child(pid_t pid, const char *tool)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return fail(tool, "cannot wait for a process", strerror(errno));
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    return fail(tool, "the pipeline was ended by a signal", strsignal(WTERMSIG(status)));
}

/* Copies what the child has printed to standard error. */
static void show_messages(int fd)
{
    char text[4096];
    ssize_t n;
    lseek(fd, 0, SEEK_SET);
    while ((n = read(fd, text, sizeof text)) > 0)
        fwrite(text, 1, (size_t)n, stderr);
}

static int run_in_child(const struct descriptors *d, const struct pipeline_result_options *o,
                        const struct pipeline_options *run, const struct pipeline *pipeline,
                        struct arena *a)
{
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        run_child(d, parent, o->tool, run, pipeline, a);
    if (pid < 0)
        return fail(o->tool, "cannot start a process", strerror(errno));
    int status = wait_for_child(pid, o->tool);
    if (status && d->messages >= 0)
        show_messages(d->messages);
    return status;
}

/* ---- the result ------------------------------------------------------------------------------ */

int pipeline_result_compute(struct pipeline_result *r, const struct pipeline_result_options *o,
                            const struct pipeline_options *run, const struct pipeline *pipeline,
                            struct arena *a)
{
    struct descriptors d = {.messages = -1};
    r->fd = open_file(o);
    if (r->fd < 0)
        return 1;
    snprintf(r->path, sizeof r->path, "/dev/fd/%d", r->fd);
    d.output = r->fd;
    d.input = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (o->is_repeated)
        d.messages = memfd_create("tvtools", MFD_CLOEXEC);
    int status = d.input < 0 ? fail(o->tool, "cannot open /dev/null", strerror(errno))
                             : run_in_child(&d, o, run, pipeline, a);
    if (d.input >= 0)
        close(d.input);
    if (d.messages >= 0)
        close(d.messages);
    if (status)
        pipeline_result_close(r);
    return status;
}

void pipeline_result_close(struct pipeline_result *r)
{
    close(r->fd);
    r->fd = -1;
}
