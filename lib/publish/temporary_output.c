#include "temporary_output.h"

#include "ending_signals.h"
#include "fs.h"
#include "hash.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file that exists or is about to. A signal handler may walk the list at any time. */
struct temporary_file {
    struct temporary_file *next;
    const char *name;
    uint64_t length;
    size_t start; /* bytes at its beginning that are read back, and their hash */
    uint64_t hash;
};

/* Only system calls that a signal handler may make. */
void temporary_output_remove(struct temporary_output *t)
{
    for (struct temporary_file *f = t->files; f; f = f->next)
        unlinkat(t->folder.model, f->name, 0);
    temporary_folder_remove(&t->folder);
}

/* ---- signals and fatal_exit ------------------------------------------------------------------ */

/* A signal handler has no other way to find these. */
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
    ending_signals_raise(signal_number);
}

static void on_fatal(void *temporary, const char *program, const char *sentence)
{
    if (!renaming)
        temporary_output_remove(temporary);
}

static void install_signal_handlers(struct temporary_output *t)
{
    active = t;
    ending_signals_catch(remove_output_on_signal);
    t->on_fatal = (struct fatal_action){.run = on_fatal, .data = t};
    fatal_add_action(&t->on_fatal);
}

static void restore_signal_handlers(struct temporary_output *t)
{
    if (active != t)
        return;
    fatal_remove_action(&t->on_fatal);
    ending_signals_release(remove_output_on_signal);
    active = NULL;
    renaming = false;
    int waited = waiting_signal;
    waiting_signal = 0;
    if (waited)
        raise(waited);
}

/* ---- creating -------------------------------------------------------------------------------- */

void temporary_output_init(struct temporary_output *t, struct output_target *target)
{
    *t = (struct temporary_output){.target = target, .folder = TEMPORARY_FOLDER_CLOSED};
}

int temporary_output_create(struct temporary_output *t, struct error *e)
{
    install_signal_handlers(t);
    if (temporary_folder_create(&t->folder, t->target))
        return error_set(e, "cannot create a temporary folder next to %s: %s", t->target->path,
                         strerror(errno));
    temporary_folder_remove_abandoned(&t->folder, t->target);
    return 0;
}

static int write_error(const struct temporary_output *t, const char *name, struct error *e)
{
    return output_target_write_error(t->target, name, e);
}

static void add_file(struct temporary_output *t, const char *name)
{
    struct temporary_file *f = arena_alloc(&t->arena, 1, sizeof *f);
    f->name = arena_copy_text(&t->arena, name);
    f->next = t->files;
    t->files = f;
}

int temporary_output_open_file(struct temporary_output *t, const char *name, struct error *e)
{
    if (temporary_folder_list(&t->folder, name))
        return write_error(t, name, e);
    add_file(t, name);
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(t->folder.model, name, flags, 0666);
    return fd < 0 ? write_error(t, name, e) : fd;
}

int temporary_output_reopen_file(const struct temporary_output *t, const char *name)
{
    return fs_open_for_writing(t->folder.model, name);
}

static struct temporary_file *find_file(const struct temporary_output *t, const char *name)
{
    struct temporary_file *f = t->files;
    while (strcmp(f->name, name) != 0)
        f = f->next;
    return f;
}

void temporary_output_set_length(struct temporary_output *t, const char *name, uint64_t length)
{
    find_file(t, name)->length = length;
}

/* Writes the beginning of a file and closes it. */
static int write_start(struct temporary_output *t, int fd, const char *name, const void *bytes,
                       size_t size, struct error *e)
{
    struct temporary_file *f = find_file(t, name);
    f->start = size;
    f->hash = XXH3_64bits(bytes, size);
    int failed = fs_write_at(fd, 0, bytes, size) ? write_error(t, name, e) : 0;
    return close(fd) && !failed ? write_error(t, name, e) : failed;
}

int temporary_output_create_file(struct temporary_output *t, const char *name, const void *bytes,
                                 size_t size, uint64_t length, struct error *e)
{
    int fd = temporary_output_open_file(t, name, e);
    if (fd < 0)
        return -1;
    if (fs_preallocate(fd, length)) {
        write_error(t, name, e);
        close(fd);
        return -1;
    }
    temporary_output_set_length(t, name, length);
    return write_start(t, fd, name, bytes, size, e);
}

int temporary_output_rewrite_start(struct temporary_output *t, const char *name, const void *bytes,
                                   size_t size, struct error *e)
{
    if (size != find_file(t, name)->start)
        return error_set(e, "cannot write %s/%s: its header would have %zu bytes instead of %zu",
                         t->target->path, name, size, find_file(t, name)->start);
    int fd = temporary_output_reopen_file(t, name);
    return fd < 0 ? write_error(t, name, e) : write_start(t, fd, name, bytes, size, e);
}

int temporary_output_grow_start(struct temporary_output *t, const char *name, const void *bytes,
                                size_t size, struct error *e)
{
    struct temporary_file *f = find_file(t, name);
    if (size == f->start)
        return temporary_output_rewrite_start(t, name, bytes, size, e);
    int fd = temporary_output_reopen_file(t, name);
    if (fd < 0)
        return write_error(t, name, e);
    if (fs_move_bytes(fd, f->start, f->length - f->start, size - f->start)) {
        write_error(t, name, e);
        close(fd);
        return -1;
    }
    f->length += size - f->start;
    return write_start(t, fd, name, bytes, size, e);
}

/* ---- publishing ------------------------------------------------------------------------------ */

static int compare_file(const struct temporary_output *t, const struct temporary_file *f, int fd,
                        const struct stat *st, struct error *e)
{
    uint64_t size, hash;
    if ((uint64_t)st->st_size != f->length)
        return error_set(e, "cannot write %s: %s has %llu bytes on the disk instead of %llu",
                         t->target->path, f->name, (unsigned long long)st->st_size,
                         (unsigned long long)f->length);
    if (fs_hash_range(fd, 0, f->start, &size, &hash))
        return error_set(e, "cannot read %s of %s back: %s", f->name, t->target->path,
                         strerror(errno));
    if (f->start && (size != f->start || hash != f->hash))
        return error_set(e, "cannot write %s: the contents of %s on the disk differ",
                         t->target->path, f->name);
    return 0;
}

static int check_and_sync_file(const struct temporary_output *t, const struct temporary_file *f,
                               struct error *e)
{
    struct stat st;
    int fd = fs_open_regular_file(t->folder.model, f->name, &st);
    if (fd < 0)
        return write_error(t, f->name, e);
    int failed = compare_file(t, f, fd, &st, e);
    if (!failed && fsync(fd))
        failed = write_error(t, f->name, e);
    close(fd);
    return failed;
}

int temporary_output_sync(const struct temporary_output *t, struct error *e)
{
    for (struct temporary_file *f = t->files; f; f = f->next)
        if (check_and_sync_file(t, f, e))
            return -1;
    return fsync(t->folder.model) ? write_error(t, NULL, e) : 0;
}

/* Of a folder model/ is renamed, of a target of one file that file. */
static int rename_model(struct temporary_output *t, bool replaces, int *old_folder,
                        const char **old, struct error *e)
{
    bool is_folder = t->target->form == OUTPUT_FOLDER;
    int from = is_folder ? t->folder.outer : t->folder.model;
    const char *name = is_folder ? "model" : t->files->name;
    return output_target_rename_into_place(t->target, from, name, replaces, old_folder, old, e);
}

/* The same, while no other process renames to the target. */
static int rename_model_locked(struct temporary_output *t, int *old_folder, const char **old,
                               struct error *e)
{
    int replaces = output_target_find_replaced(t->target, e);
    if (replaces < 0)
        return -1;
    if (replaces && temporary_folder_list_replaced(&t->folder, &t->target->replaced))
        return write_error(t, NULL, e);
    renaming = true; /* from here on no memory is allocated that could run out */
    int failed = rename_model(t, replaces, old_folder, old, e);
    if (failed)
        renaming = false;
    return failed;
}

int temporary_output_rename_into_place(struct temporary_output *t, struct error *e)
{
    const char *old;
    int old_folder = -1;
    output_target_lock(t->target);
    int failed = rename_model_locked(t, &old_folder, &old, e);
    output_target_unlock(t->target);
    if (failed)
        return -1;
    t->files = NULL;
    failed = output_target_sync(t->target, e);
    if (old)
        output_target_remove_old(t->target, old_folder, old);
    if (temporary_folder_remove(&t->folder))
        output_target_warn_not_removed(t->target, t->folder.name);
    temporary_folder_close(&t->folder);
    return failed;
}

void temporary_output_close(struct temporary_output *t)
{
    restore_signal_handlers(t);
    temporary_folder_close(&t->folder);
    arena_free(&t->arena);
}
