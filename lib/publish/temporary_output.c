#include "temporary_output.h"

#include "fs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file that exists or is about to. A signal handler may walk the list at any time. */
struct temporary_file {
    struct temporary_file *next;
    const char *name;
};

/* Only system calls that a signal handler may make. */
void temporary_output_remove(struct temporary_output *t)
{
    for (struct temporary_file *f = t->files; f; f = f->next)
        unlinkat(t->folder, f->name, 0);
    if (t->target->form == OUTPUT_FOLDER && t->name)
        unlinkat(t->target->parent, t->name, AT_REMOVEDIR);
}

/* ---- signals --------------------------------------------------------------------------------- */

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
#define N_SIGNALS (sizeof signals / sizeof *signals)
static struct sigaction old_actions[N_SIGNALS];
static struct temporary_output *_Atomic active;
static atomic_bool renaming; /* nothing may be removed now: a signal waits */
static volatile sig_atomic_t waiting_signal;

static void remove_output_on_signal(int signal_number)
{
    if (renaming) {
        waiting_signal = signal_number;
        return;
    }
    struct temporary_output *t = active;
    if (t)
        temporary_output_remove(t);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void install_signal_handlers(struct temporary_output *t)
{
    struct sigaction action = {.sa_handler = remove_output_on_signal};
    sigemptyset(&action.sa_mask);
    active = t;
    for (size_t i = 0; i < N_SIGNALS; i++) {
        sigaction(signals[i], NULL, &old_actions[i]);
        if (old_actions[i].sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
}

static void restore_signal_handlers(struct temporary_output *t)
{
    if (active != t)
        return;
    for (size_t i = 0; i < N_SIGNALS; i++)
        sigaction(signals[i], &old_actions[i], NULL);
    active = NULL;
    renaming = false;
    int waited = waiting_signal;
    waiting_signal = 0;
    if (waited)
        raise(waited);
}

/* ---- creating -------------------------------------------------------------------------------- */

static void add_to_file_list(struct temporary_output *t, const char *name)
{
    struct temporary_file *f = arena_alloc(&t->arena, 1, sizeof *f);
    f->name = arena_copy_text(&t->arena, name);
    f->next = t->files;
    t->files = f;
}

static int create_folder(struct temporary_output *t, struct error *e)
{
    const struct output_target *target = t->target;
    for (int tries = 0; tries < 100; tries++) {
        free(t->name);
        t->name = output_target_temporary_name(target, "partial");
        if (mkdirat(target->parent, t->name, 0777) == 0) {
            t->folder = openat(target->parent, t->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            break;
        }
        if (errno != EEXIST)
            break;
    }
    return t->folder < 0 ? error_set(e, "cannot create a temporary folder next to %s: %s",
                                     target->path, strerror(errno))
                         : 0;
}

static int create_single_file(struct temporary_output *t, int *fd, struct error *e)
{
    const struct output_target *target = t->target;
    t->folder = target->parent;
    for (int tries = 0; *fd < 0 && tries < 100; tries++) {
        free(t->name);
        t->name = output_target_temporary_name(target, "partial");
        *fd = openat(target->parent, t->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (*fd < 0 && errno != EEXIST)
            break;
    }
    if (*fd < 0)
        return error_set(e, "cannot create a temporary file next to %s: %s", target->path,
                         strerror(errno));
    add_to_file_list(t, t->name);
    return 0;
}

int temporary_output_create(struct temporary_output *t, int *fd, struct error *e)
{
    *fd = -1;
    install_signal_handlers(t);
    return t->target->form == OUTPUT_FOLDER ? create_folder(t, e) : create_single_file(t, fd, e);
}

const char *temporary_output_file_name(const struct temporary_output *t)
{
    return t->files->name;
}

int temporary_output_create_file(struct temporary_output *t, const char *name, const void *bytes,
                                 size_t size, uint64_t length, struct error *e)
{
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC;
    if (t->target->form == OUTPUT_FOLDER) {
        add_to_file_list(t, name);
        flags |= O_EXCL;
    }
    int fd = openat(t->folder, name, flags, 0666);
    if (fd < 0)
        return output_target_write_error(t->target, name, e);
    int failed = fs_preallocate(fd, length) || fs_write_at(fd, 0, bytes, size)
                     ? output_target_write_error(t->target, name, e)
                     : 0;
    if (close(fd) && !failed)
        failed = output_target_write_error(t->target, name, e);
    return failed ? -1 : 0;
}

/* ---- publishing ------------------------------------------------------------------------------ */

int temporary_output_sync(const struct temporary_output *t, struct error *e)
{
    for (struct temporary_file *f = t->files; f; f = f->next)
        if (fs_sync_file(t->folder, f->name))
            return output_target_write_error(t->target, f->name, e);
    return fsync(t->folder) ? output_target_write_error(t->target, NULL, e) : 0;
}

int temporary_output_rename_into_place(struct temporary_output *t, struct error *e)
{
    struct replaced_output replaced;
    renaming = true;
    if (output_target_rename_into_place(t->target, t->target->parent, t->name, &replaced, e)) {
        renaming = false;
        return -1;
    }
    t->files = NULL;
    free(t->name);
    t->name = NULL;
    return output_target_remove_replaced(t->target, &replaced, e);
}

void temporary_output_close(struct temporary_output *t)
{
    restore_signal_handlers(t);
    if (t->folder >= 0 && t->folder != t->target->parent)
        close(t->folder);
    free(t->name);
    arena_free(&t->arena);
}
