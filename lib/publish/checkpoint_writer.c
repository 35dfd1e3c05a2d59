#include "checkpoint_writer.h"

#include "fs.h"
#include "mem.h"
#include "tar_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file that was or will be made, for whoever cleans up: it may be a signal handler. */
struct name {
    struct name *next;
    const char *text;
};

/* How far a shard has come. */
struct work {
    uint64_t written; /* bytes of data */
    int fd;           /* -1 until the first write and after the last */
};

struct checkpoint_writer {
    struct output_target to;
    bool to_stdout;
    char *temporary; /* the name beside the target */
    int folder;      /* where the files are made */
    struct name *_Atomic names;
    struct arena arena;

    struct shard_layout *shards;
    struct work *work; /* [shard] */
    pthread_mutex_t lock;

    struct tar_writer *tarball; /* of an archive, in place of files */
};

static bool is_archive(const struct checkpoint_writer *p)
{
    return p->to.form == OUTPUT_TAR || p->to.form == OUTPUT_TAR_ZST;
}

/* ---- cleaning up ---------------------------------------------------------------------------- */

/* Removes what was made. Nothing here but system calls that a signal handler may make. */
static void remove_temporary(struct checkpoint_writer *p)
{
    for (struct name *name = p->names; name; name = name->next)
        unlinkat(p->folder, name->text, 0);
    if (p->to.form == OUTPUT_FOLDER && p->temporary)
        unlinkat(p->to.parent, p->temporary, AT_REMOVEDIR);
}

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
#define N_SIGNALS (sizeof signals / sizeof *signals)
static struct sigaction old_actions[N_SIGNALS];
static struct checkpoint_writer *_Atomic active;
static atomic_bool committing; /* too late to remove: a signal waits */
static volatile sig_atomic_t waiting_signal;

static void on_signal(int signal_number)
{
    if (committing) {
        waiting_signal = signal_number;
        return;
    }
    struct checkpoint_writer *p = active;
    if (p)
        remove_temporary(p);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void catch_signals(struct checkpoint_writer *p)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    active = p;
    for (size_t i = 0; i < N_SIGNALS; i++) {
        sigaction(signals[i], NULL, &old_actions[i]);
        if (old_actions[i].sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
}

static void release_signals(struct checkpoint_writer *p)
{
    if (active != p)
        return;
    for (size_t i = 0; i < N_SIGNALS; i++)
        sigaction(signals[i], &old_actions[i], NULL);
    active = NULL;
    committing = false;
    int waited = waiting_signal;
    waiting_signal = 0;
    if (waited)
        raise(waited);
}

static void checkpoint_writer_free(struct checkpoint_writer *p)
{
    release_signals(p);
    for (size_t i = 0; p->work && i < p->shards->n_files; i++)
        if (p->work[i].fd >= 0)
            close(p->work[i].fd);
    if (p->folder >= 0 && p->folder != p->to.parent)
        close(p->folder);
    output_target_close(&p->to);
    free(p->temporary);
    free(p->work);
    shard_layout_free(p->shards);
    pthread_mutex_destroy(&p->lock);
    arena_free(&p->arena);
    free(p);
}

void checkpoint_writer_abort(struct checkpoint_writer *p)
{
    if (!p)
        return;
    tar_writer_abandon(p->tarball);
    remove_temporary(p);
    checkpoint_writer_free(p);
}

/* ---- opening -------------------------------------------------------------------------------- */

static int write_error(const struct checkpoint_writer *p, const char *name, struct error *e)
{
    return output_target_write_error(&p->to, name, e);
}

static void remember(struct checkpoint_writer *p, const char *text)
{
    struct name *name = arena_alloc(&p->arena, 1, sizeof *name);
    name->text = text;
    name->next = p->names;
    p->names = name;
}

static int make_folder(struct checkpoint_writer *p, struct error *e)
{
    for (int tries = 0; tries < 100; tries++) {
        free(p->temporary);
        p->temporary = output_target_temporary_name(&p->to, "partial");
        if (mkdirat(p->to.parent, p->temporary, 0777) == 0) {
            p->folder = openat(p->to.parent, p->temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            break;
        }
        if (errno != EEXIST)
            break;
    }
    return p->folder < 0
               ? error_set(e, "cannot make a folder beside %s: %s", p->to.name, strerror(errno))
               : 0;
}

static int open_archive(struct checkpoint_writer *p, int fd, const char *what, struct error *e)
{
    p->tarball = tar_writer_open(fd, p->to.form == OUTPUT_TAR_ZST, what, e);
    if (!p->tarball)
        close(fd);
    return p->tarball ? 0 : -1;
}

/* One file beside the target, which an archive keeps open. */
static int make_file(struct checkpoint_writer *p, struct error *e)
{
    int fd = -1;
    p->folder = p->to.parent;
    for (int tries = 0; fd < 0 && tries < 100; tries++) {
        free(p->temporary);
        p->temporary = output_target_temporary_name(&p->to, "partial");
        fd = openat(p->to.parent, p->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    if (fd < 0)
        return error_set(e, "cannot make a file beside %s: %s", p->to.name, strerror(errno));
    remember(p, arena_copy_text_n(&p->arena, p->temporary, strlen(p->temporary)));
    return is_archive(p) ? open_archive(p, fd, p->to.name, e) : close(fd);
}

static int open_stdout(struct checkpoint_writer *p, struct error *e)
{
    if (isatty(STDOUT_FILENO))
        return error_set(e, "standard output is a terminal; an archive goes into a pipe or a file");
    p->to_stdout = true;
    return open_archive(p, STDOUT_FILENO, "standard output", e);
}

static int open_target(struct checkpoint_writer *p, uint64_t need, struct error *e)
{
    if (output_target_open_parent(&p->to, e))
        return -1;
    /* How far an archive can be compressed is not known: it finds out. */
    if (p->to.form != OUTPUT_TAR_ZST && output_target_check_space(&p->to, need, e))
        return -1;
    catch_signals(p);
    if (p->to.form == OUTPUT_FOLDER)
        return make_folder(p, e);
    return make_file(p, e);
}

struct checkpoint_writer *checkpoint_writer_open(const char *target, bool force, uint64_t need,
                                                 struct error *e)
{
    struct checkpoint_writer *p = mem_alloc(1, sizeof *p);
    p->folder = -1;
    pthread_mutex_init(&p->lock, NULL);
    int failed = output_target_open(&p->to, target, force, e);
    if (!failed)
        failed = strcmp(target, "-") == 0 ? open_stdout(p, e) : open_target(p, need, e);
    if (!failed)
        return p;
    checkpoint_writer_abort(p);
    return NULL;
}

/* ---- files ---------------------------------------------------------------------------------- */

/* A new file of `room` bytes in the folder, with these at its start. */
static int create(struct checkpoint_writer *p, const char *name, const void *bytes, size_t size,
                  uint64_t room, struct error *e)
{
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC;
    if (p->to.form == OUTPUT_FOLDER) {
        remember(p, name);
        flags |= O_EXCL;
    }
    int fd = openat(p->folder, name, flags, 0666);
    if (fd < 0)
        return write_error(p, name, e);
    int failed =
        fs_preallocate(fd, room) || fs_write_at(fd, 0, bytes, size) ? write_error(p, name, e) : 0;
    if (close(fd) && !failed)
        failed = write_error(p, name, e);
    return failed ? -1 : 0;
}

int checkpoint_writer_write_file(struct checkpoint_writer *p, const char *name, const void *bytes,
                                 size_t size, struct error *e)
{
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return error_set(e, "\"%s\" is no name of a file in a checkpoint", name);
    if (p->to.form == OUTPUT_SAFETENSORS)
        return 0;
    if (is_archive(p))
        return tar_writer_add_file(p->tarball, name, bytes, size, e);
    return create(p, arena_copy_text_n(&p->arena, name, strlen(name)), bytes, size, size, e);
}

int checkpoint_writer_declare_tensors(struct checkpoint_writer *p,
                                      const struct shard_layout_spec *w, struct error *e)
{
    struct shard_layout_spec wanted = *w;
    wanted.whole_name = p->to.form == OUTPUT_SAFETENSORS ? p->names->text : NULL;
    wanted.as_they_come = is_archive(p);
    p->shards = shard_layout_new(&wanted, p->to.name, e);
    if (!p->shards)
        return -1;
    if (is_archive(p))
        tar_writer_set_layout(p->tarball, p->shards);
    p->work = mem_alloc(p->shards->n_files, sizeof *p->work);
    for (size_t i = 0; i < p->shards->n_files; i++)
        p->work[i].fd = -1;
    int failed = 0;
    for (size_t i = 0; !failed && !is_archive(p) && i < p->shards->n_files; i++) {
        const struct shard *s = &p->shards->files[i];
        failed = create(p, s->name, s->head, s->head_size, s->head_size + s->size, e);
    }
    char *index = shard_layout_index_json(p->shards);
    if (index && !failed)
        failed = checkpoint_writer_write_file(p, "model.safetensors.index.json", index,
                                              strlen(index), e);
    free(index);
    return failed;
}

int checkpoint_writer_replace_metadata(struct checkpoint_writer *p, const char *key,
                                       const char *value, struct error *e)
{
    if (is_archive(p)) /* the headers have gone */
        return 0;
    int failed = shard_layout_set_metadata(p->shards, key, value, p->to.name, e);
    for (size_t i = 0; !failed && i < p->shards->n_files; i++) {
        const struct shard *s = &p->shards->files[i];
        int fd = openat(p->folder, s->name, O_WRONLY | O_CLOEXEC);
        failed =
            fd < 0 || fs_write_at(fd, 0, s->head, s->head_size) ? write_error(p, s->name, e) : 0;
        if (fd >= 0 && close(fd) && !failed)
            failed = write_error(p, s->name, e);
    }
    return failed;
}

/* ---- data ----------------------------------------------------------------------------------- */

/* The shard's descriptor: open from its first byte to its last. */
static int shard_fd(struct checkpoint_writer *p, size_t shard, struct error *e)
{
    struct work *s = &p->work[shard];
    const char *name = p->shards->files[shard].name;
    pthread_mutex_lock(&p->lock);
    if (s->fd < 0)
        s->fd = openat(p->folder, name, O_WRONLY | O_CLOEXEC);
    int fd = s->fd;
    if (fd < 0)
        write_error(p, name, e);
    pthread_mutex_unlock(&p->lock);
    return fd;
}

static int shard_written(struct checkpoint_writer *p, size_t shard, size_t size, struct error *e)
{
    const struct shard *file = &p->shards->files[shard];
    struct work *s = &p->work[shard];
    int failed = 0;
    pthread_mutex_lock(&p->lock);
    s->written += size;
    fs_start_writeback(s->fd, s->written, size, s->written == file->size);
    if (s->written == file->size) {
        if (close(s->fd))
            failed = write_error(p, file->name, e);
        s->fd = -1;
    }
    pthread_mutex_unlock(&p->lock);
    return failed;
}

int checkpoint_writer_write_tensor(struct checkpoint_writer *p, size_t i, uint64_t offset,
                                   const void *bytes, size_t size, struct error *e)
{
    const struct place *t = &p->shards->places[i];
    const struct shard *s = &p->shards->files[t->shard];
    if (size == 0)
        return 0;
    if (is_archive(p))
        return tar_writer_write_data(p->tarball, t->start + offset, bytes, size, e);
    int fd = shard_fd(p, t->shard, e);
    if (fd < 0)
        return -1;
    if (fs_write_at(fd, s->head_size + t->offset + offset, bytes, size))
        return write_error(p, s->name, e);
    return shard_written(p, t->shard, size, e);
}

/* ---- putting in place ----------------------------------------------------------------------- */

static int check_complete(const struct checkpoint_writer *p, struct error *e)
{
    for (size_t i = 0; i < p->shards->n_files; i++)
        if (p->work[i].written != p->shards->files[i].size)
            return error_set(e, "%s is not complete: %llu of %llu bytes came for its part %zu",
                             p->to.name, (unsigned long long)p->work[i].written,
                             (unsigned long long)p->shards->files[i].size, i + 1);
    return 0;
}

static int sync_files(struct checkpoint_writer *p, struct error *e)
{
    for (struct name *name = p->names; name; name = name->next)
        if (fs_sync_file(p->folder, name->text))
            return write_error(p, name->text, e);
    return fsync(p->folder) ? write_error(p, NULL, e) : 0;
}

static int finish_archive(struct checkpoint_writer *p, struct error *e)
{
    if (tar_writer_finish(p->tarball, e))
        return -1;
    p->tarball = NULL;
    return 0;
}

/* From here on a signal waits until the old and the new have changed places for good. */
static int put_in_place(struct checkpoint_writer *p, struct error *e)
{
    char *old;
    int old_folder;
    committing = true;
    if (output_target_rename_into_place(&p->to, p->to.parent, p->temporary, &old, &old_folder, e)) {
        committing = false;
        return -1;
    }
    p->names = NULL; /* what they named is published */
    free(p->temporary);
    p->temporary = NULL;
    return output_target_remove_replaced(&p->to, old, old_folder, e);
}

int checkpoint_writer_commit(struct checkpoint_writer *p, struct error *e)
{
    int failed = is_archive(p) ? finish_archive(p, e) : check_complete(p, e);
    if (!failed && !p->to_stdout)
        failed = sync_files(p, e) || put_in_place(p, e) ? -1 : 0;
    if (failed) {
        checkpoint_writer_abort(p);
        return -1;
    }
    checkpoint_writer_free(p);
    return 0;
}
