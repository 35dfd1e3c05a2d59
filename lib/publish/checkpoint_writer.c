#include "checkpoint_writer.h"

#include "fs.h"
#include "mem.h"
#include "tar_writer.h"
#include "temporary_output.h"
#include "used_weights.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARCHIVE "model" /* its name until it is published */

/* How much of a shard has been written. */
struct shard_progress {
    uint64_t written; /* bytes of data, with the padding */
    int fd;           /* -1 before the first write and after the last */
};

struct checkpoint_writer {
    struct output_target target;
    struct temporary_output temporary;
    struct shard_layout *layout;
    struct shard_progress *progress; /* [shard] */
    pthread_mutex_t lock;
    bool to_stdout;
    struct tar_writer *tar; /* an archive, or standard output */
};

/* Are all bytes written from the first to the last? */
static bool is_sequential(const struct checkpoint_writer *w)
{
    return w->target.form == OUTPUT_TAR || w->target.form == OUTPUT_TAR_ZST || w->to_stdout;
}

static int write_error(const struct checkpoint_writer *w, const char *name, struct error *e)
{
    return output_target_write_error(&w->target, name, e);
}

/* ---- opening and closing -------------------------------------------------------------------- */

static int open_archive(struct checkpoint_writer *w, int fd, const char *target, struct error *e)
{
    enum tar_writer_form form = w->target.form == OUTPUT_SAFETENSORS ? TAR_WRITER_ONLY_SHARD
                                : w->target.form == OUTPUT_TAR_ZST   ? TAR_WRITER_TAR_ZST
                                                                     : TAR_WRITER_TAR;
    w->tar = tar_writer_open(fd, form, target, e);
    if (!w->tar)
        close(fd);
    return w->tar ? 0 : -1;
}

static int open_stdout(struct checkpoint_writer *w, struct error *e)
{
    if (isatty(STDOUT_FILENO))
        return error_set(e,
                         "standard output is a terminal; redirect the output to a pipe or a file");
    w->to_stdout = true;
    return open_archive(w, STDOUT_FILENO, "standard output", e);
}

static int create_temporary_output(struct checkpoint_writer *w, uint64_t need, struct error *e)
{
    if (output_target_open_parent(&w->target, e))
        return -1;
    /* How small a compressed archive will be is not known. */
    if (w->target.form != OUTPUT_TAR_ZST && output_target_check_space(&w->target, need, e))
        return -1;
    if (temporary_output_create(&w->temporary, e))
        return -1;
    if (!is_sequential(w))
        return 0;
    int fd = temporary_output_open_file(&w->temporary, ARCHIVE, e);
    return fd < 0 ? -1 : open_archive(w, fd, w->target.path, e);
}

static void checkpoint_writer_free(struct checkpoint_writer *w)
{
    temporary_output_close(&w->temporary);
    for (size_t i = 0; w->progress && i < w->layout->n_shards; i++)
        if (w->progress[i].fd >= 0)
            close(w->progress[i].fd);
    output_target_close(&w->target);
    free(w->progress);
    shard_layout_free(w->layout);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

struct checkpoint_writer *checkpoint_writer_open(const char *target, enum output_form form,
                                                 bool force, const struct input_guard *guard,
                                                 uint64_t need, struct error *e)
{
    struct checkpoint_writer *w = mem_alloc(1, sizeof *w);
    temporary_output_init(&w->temporary, &w->target);
    pthread_mutex_init(&w->lock, NULL);
    int failed = output_target_open(&w->target, target, force, guard, e);
    w->target.form = form;
    if (!failed)
        failed = strcmp(target, "-") == 0 ? open_stdout(w, e) : create_temporary_output(w, need, e);
    if (!failed)
        return w;
    checkpoint_writer_abort(w);
    return NULL;
}

void checkpoint_writer_abort(struct checkpoint_writer *w)
{
    if (!w)
        return;
    tar_writer_free_unfinished(w->tar);
    temporary_output_remove(&w->temporary);
    checkpoint_writer_free(w);
}

/* ---- files ---------------------------------------------------------------------------------- */

int checkpoint_writer_write_file(struct checkpoint_writer *w, const char *name, const void *bytes,
                                 size_t size, struct error *e)
{
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return error_set(e, "\"%s\" is not a valid file name in a checkpoint", name);
    if (output_form_is_single_file(w->target.form))
        return 0;
    if (is_sequential(w))
        return tar_writer_add_file(w->tar, name, bytes, size, e);
    return temporary_output_create_file(&w->temporary, name, bytes, size, size, e);
}

/* Creates the files of all shards with their headers. */
static int create_shard_files(struct checkpoint_writer *w, struct error *e)
{
    w->progress = mem_alloc(w->layout->n_shards, sizeof *w->progress);
    for (size_t i = 0; i < w->layout->n_shards; i++)
        w->progress[i] = (struct shard_progress){w->layout->shards[i].padding, -1};
    for (size_t i = 0; !is_sequential(w) && i < w->layout->n_shards; i++) {
        const struct shard *s = &w->layout->shards[i];
        if (temporary_output_create_file(&w->temporary, s->name, s->header, s->header_size,
                                         s->header_size + s->data_size, e))
            return -1;
    }
    return 0;
}

/* An error if the tensors of standard output, one after another, need a second shard. */
static int check_alignment(const struct checkpoint_writer *w, struct error *e)
{
    const struct placed_tensor *t = w->layout->tensors;
    if (w->target.form != OUTPUT_SAFETENSORS || w->layout->n_shards == 1)
        return 0;
    while (t->shard == 0)
        t++;
    return error_set(e,
                     "tensor %s would begin at byte %llu of the data, where %s is not aligned; "
                     "write to a file, or choose one --dtype",
                     t->name, (unsigned long long)t->total_offset, dtype_name(t->dtype));
}

int checkpoint_writer_declare_tensors(struct checkpoint_writer *w,
                                      const struct shard_layout_spec *spec, struct error *e)
{
    struct shard_layout_spec own = *spec;
    own.single_file_name = w->target.form == OUTPUT_SAFETENSORS ? "model.safetensors" : NULL;
    own.keeps_order = is_sequential(w);
    w->layout = shard_layout_new(&own, w->target.path, e);
    if (!w->layout || check_alignment(w, e))
        return -1;
    if (is_sequential(w))
        tar_writer_set_layout(w->tar, w->layout);
    if (create_shard_files(w, e))
        return -1;
    char *index = shard_layout_index_json(w->layout);
    int failed =
        index ? checkpoint_writer_write_file(w, w->layout->index_name, index, strlen(index), e) : 0;
    free(index);
    return failed;
}

int checkpoint_writer_declare_layout(struct checkpoint_writer *w, struct shard_layout *layout,
                                     struct error *e)
{
    w->layout = layout;
    return create_shard_files(w, e);
}

int checkpoint_writer_replace_metadata(struct checkpoint_writer *w, const char *key,
                                       const char *value, struct error *e)
{
    if (is_sequential(w))
        return 0;
    int failed = shard_layout_set_metadata(w->layout, key, value, w->target.path, e);
    for (size_t i = 0; !failed && i < w->layout->n_shards; i++) {
        const struct shard *s = &w->layout->shards[i];
        failed =
            temporary_output_rewrite_start(&w->temporary, s->name, s->header, s->header_size, e);
    }
    return failed;
}

/* Sets them in the metadata of the only file. Room was reserved for one weight per model; where
 * that is too little, the data move. */
static int set_used_weights_metadata(struct checkpoint_writer *w, const char *text, struct error *e)
{
    const struct shard *s = &w->layout->shards[0];
    if (shard_layout_set_longer_metadata(w->layout, USED_WEIGHTS_METADATA, text ? text : "{}",
                                         w->target.path, e))
        return -1;
    return temporary_output_grow_start(&w->temporary, s->name, s->header, s->header_size, e);
}

int checkpoint_writer_write_used_weights(struct checkpoint_writer *w, const char *text,
                                         struct error *e)
{
    if (w->to_stdout && w->target.form == OUTPUT_SAFETENSORS)
        return 0; /* the header has been written */
    if (output_form_is_single_file(w->target.form))
        return set_used_weights_metadata(w, text, e);
    return text ? checkpoint_writer_write_file(w, USED_WEIGHTS_FILE, text, strlen(text), e) : 0;
}

/* ---- data ----------------------------------------------------------------------------------- */

/* The descriptor of a shard, which is opened for the first write. */
static int open_shard(struct checkpoint_writer *w, size_t shard, struct error *e)
{
    struct shard_progress *p = &w->progress[shard];
    const char *name = w->layout->shards[shard].name;
    pthread_mutex_lock(&w->lock);
    if (p->fd < 0)
        p->fd = temporary_output_reopen_file(&w->temporary, name);
    int fd = p->fd;
    if (fd < 0)
        write_error(w, name, e);
    pthread_mutex_unlock(&w->lock);
    return fd;
}

/* Counts bytes that were written, and closes the shard after its last. */
static int count_written_and_close_full_shard(struct checkpoint_writer *w, size_t shard,
                                              size_t size, struct error *e)
{
    const struct shard *s = &w->layout->shards[shard];
    struct shard_progress *p = &w->progress[shard];
    int failed = 0;
    pthread_mutex_lock(&w->lock);
    p->written += size;
    bool complete = p->written == s->data_size;
    fs_start_writeback(p->fd, p->written, size, complete);
    if (complete) {
        if (close(p->fd))
            failed = write_error(w, s->name, e);
        p->fd = -1;
    }
    pthread_mutex_unlock(&w->lock);
    return failed;
}

int checkpoint_writer_write_tensor(struct checkpoint_writer *w, size_t i, uint64_t offset,
                                   const void *bytes, size_t size, struct error *e)
{
    const struct placed_tensor *t = &w->layout->tensors[i];
    const struct shard *s = &w->layout->shards[t->shard];
    if (size == 0)
        return 0;
    if (is_sequential(w))
        return tar_writer_write_data(w->tar, t->total_offset + offset, bytes, size, e);
    int fd = open_shard(w, t->shard, e);
    if (fd < 0)
        return -1;
    if (fs_write_at(fd, s->header_size + t->offset + offset, bytes, size))
        return write_error(w, s->name, e);
    return count_written_and_close_full_shard(w, t->shard, size, e);
}

/* ---- publishing ----------------------------------------------------------------------------- */

static int check_all_shards_complete(const struct checkpoint_writer *w, struct error *e)
{
    for (size_t i = 0; i < w->layout->n_shards; i++)
        if (w->progress[i].written != w->layout->shards[i].data_size)
            return error_set(e, "%s is incomplete: shard %zu has %llu of %llu bytes",
                             w->target.path, i + 1, (unsigned long long)w->progress[i].written,
                             (unsigned long long)w->layout->shards[i].data_size);
    return 0;
}

static int finish_archive(struct checkpoint_writer *w, struct error *e)
{
    uint64_t size;
    if (tar_writer_finish(w->tar, &size, e))
        return -1;
    w->tar = NULL;
    if (!w->to_stdout)
        temporary_output_set_length(&w->temporary, ARCHIVE, size);
    return 0;
}

int checkpoint_writer_commit(struct checkpoint_writer *w, struct error *e)
{
    int failed = is_sequential(w) ? finish_archive(w, e) : check_all_shards_complete(w, e);
    if (!failed && !w->to_stdout)
        failed = temporary_output_sync(&w->temporary, e) ||
                         temporary_output_rename_into_place(&w->temporary, e)
                     ? -1
                     : 0;
    if (failed) {
        checkpoint_writer_abort(w);
        return -1;
    }
    checkpoint_writer_free(w);
    return 0;
}
