#include "tar_writer.h"

#include "mapped_file.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARCHIVE_BLOCK (1 << 18) /* bytes of one write */

/* Data that came before those that precede them. */
struct early_data {
    struct early_data *next;
    uint64_t total_offset;
    size_t size;
    unsigned char bytes[];
};

struct tar_writer {
    char *target;
    struct archive *archive;
    int fd;
    const struct shard_layout *layout;
    size_t shard;           /* the current one */
    bool entry_is_open;     /* its entry has been started */
    uint64_t shard_written; /* bytes of its data */
    uint64_t total_written; /* bytes of all data */
    uint64_t bytes_written; /* of the archive */
    struct early_data *early;
    pthread_mutex_t lock;
};

static void tar_writer_free(struct tar_writer *w)
{
    while (w->early) {
        struct early_data *next = w->early->next;
        free(w->early);
        w->early = next;
    }
    if (w->fd >= 0)
        close(w->fd);
    pthread_mutex_destroy(&w->lock);
    free(w->target);
    free(w);
}

/* Keeps an archive in memory until the program ends. libarchive (3.6) can free one in the middle of
 * an entry only by filling the entry up, which takes as long as writing it, or by leaking; and it
 * frees a filter twice that could not be added for want of memory. */
static void keep_archive_until_exit(struct archive *archive)
{
    static struct abandoned {
        struct abandoned *next;
        struct archive *archive;
    } * all;
    struct abandoned *one = mem_alloc(1, sizeof *one);
    *one = (struct abandoned){all, archive};
    all = one;
}

void tar_writer_free_unfinished(struct tar_writer *w)
{
    if (!w)
        return;
    if (w->archive)
        keep_archive_until_exit(w->archive);
    tar_writer_free(w);
}

/* ---- opening --------------------------------------------------------------------------------- */

static la_ssize_t write_to_fd(struct archive *a, void *data, const void *bytes, size_t size)
{
    struct tar_writer *w = data;
    const char *from = bytes;
    for (size_t done = 0; done < size;) {
        ssize_t n = write(w->fd, from + done, size - done);
        if (n < 0 && errno != EINTR) {
            archive_set_error(a, errno, "%s", mapped_file_write_error(errno));
            return -1;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    w->bytes_written += size;
    return (la_ssize_t)size;
}

static int write_error(const struct tar_writer *w, struct error *e)
{
    const char *why = archive_error_string(w->archive);
    return error_set(e, "cannot write %s: %s", w->target, why ? why : "unknown error");
}

static int choose_format(struct archive *a, enum tar_writer_form form)
{
    return form == TAR_WRITER_ONLY_SHARD ? archive_write_set_format_raw(a)
                                         : archive_write_set_format_pax_restricted(a);
}

struct tar_writer *tar_writer_open(int fd, enum tar_writer_form form, const char *target,
                                   struct error *e)
{
    struct tar_writer *w = mem_alloc(1, sizeof *w);
    w->target = mem_copy_text(target);
    w->fd = fd;
    pthread_mutex_init(&w->lock, NULL);
    w->archive = archive_write_new();
    if (w->archive && choose_format(w->archive, form) == ARCHIVE_OK &&
        (form != TAR_WRITER_TAR_ZST || archive_write_add_filter_zstd(w->archive) == ARCHIVE_OK) &&
        archive_write_set_bytes_per_block(w->archive, ARCHIVE_BLOCK) == ARCHIVE_OK &&
        archive_write_set_bytes_in_last_block(w->archive, 1) == ARCHIVE_OK &&
        archive_write_open(w->archive, w, NULL, write_to_fd, NULL) == ARCHIVE_OK)
        return w;
    if (w->archive)
        write_error(w, e);
    else
        error_set(e, "cannot write %s: out of memory", target);
    w->fd = -1;
    tar_writer_free_unfinished(w);
    return NULL;
}

/* ---- entries --------------------------------------------------------------------------------- */

static int write_entry_header(struct tar_writer *w, const char *name, uint64_t size,
                              struct error *e)
{
    struct archive_entry *entry = mem_check(archive_entry_new());
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (la_int64_t)size);
    archive_entry_set_mtime(entry, 0, 0);
    int failed = archive_write_header(w->archive, entry) != ARCHIVE_OK;
    archive_entry_free(entry);
    return failed ? write_error(w, e) : 0;
}

static int write_to_entry(struct tar_writer *w, const void *bytes, size_t size, struct error *e)
{
    const char *from = bytes;
    while (size > 0) {
        la_ssize_t n = archive_write_data(w->archive, from, size);
        if (n <= 0)
            return write_error(w, e);
        from += n;
        size -= (size_t)n;
    }
    return 0;
}

static int finish_archive_entry(struct tar_writer *w, struct error *e)
{
    return archive_write_finish_entry(w->archive) == ARCHIVE_OK ? 0 : write_error(w, e);
}

int tar_writer_add_file(struct tar_writer *w, const char *name, const void *bytes, size_t size,
                        struct error *e)
{
    return write_entry_header(w, name, size, e) || write_to_entry(w, bytes, size, e) ||
                   finish_archive_entry(w, e)
               ? -1
               : 0;
}

void tar_writer_set_layout(struct tar_writer *w, const struct shard_layout *layout)
{
    w->layout = layout;
}

/* ---- data ------------------------------------------------------------------------------------ */

/* Starts the entry of the current shard with its header, unless it has been started. */
static int begin_shard_entry(struct tar_writer *w, struct error *e)
{
    const struct shard *s = &w->layout->shards[w->shard];
    if (!w->entry_is_open && (write_entry_header(w, s->name, s->header_size + s->data_size, e) ||
                              write_to_entry(w, s->header, s->header_size, e)))
        return -1;
    w->entry_is_open = true;
    return 0;
}

static int end_shard_entry(struct tar_writer *w, struct error *e)
{
    if (finish_archive_entry(w, e))
        return -1;
    w->entry_is_open = false;
    w->shard_written = 0;
    w->shard++;
    return 0;
}

/* Writes the next bytes of data. Each shard begins with the first of its bytes; one without data
 * begins and ends at once. */
static int write_next_shard_bytes(struct tar_writer *w, const void *bytes, size_t size,
                                  struct error *e)
{
    const char *from = bytes;
    while (w->shard < w->layout->n_shards) {
        uint64_t left = w->layout->shards[w->shard].data_size - w->shard_written;
        size_t n = size < left ? size : (size_t)left;
        if (begin_shard_entry(w, e) || write_to_entry(w, from, n, e))
            return -1;
        w->shard_written += n;
        w->total_written += n;
        from += n;
        size -= n;
        if (n < left)
            return 0;
        if (end_shard_entry(w, e))
            return -1;
        if (size == 0)
            return 0;
    }
    return 0;
}

static void keep_early_data(struct tar_writer *w, uint64_t total_offset, const void *bytes,
                            size_t size)
{
    struct early_data **link = &w->early;
    struct early_data *d = mem_alloc(1, sizeof *d + size);
    while (*link && (*link)->total_offset < total_offset)
        link = &(*link)->next;
    d->total_offset = total_offset;
    d->size = size;
    memcpy(d->bytes, bytes, size);
    d->next = *link;
    *link = d;
}

int tar_writer_write_data(struct tar_writer *w, uint64_t total_offset, const void *bytes,
                          size_t size, struct error *e)
{
    pthread_mutex_lock(&w->lock);
    int failed = 0;
    if (total_offset == w->total_written)
        failed = write_next_shard_bytes(w, bytes, size, e);
    else
        keep_early_data(w, total_offset, bytes, size);
    while (!failed && w->early && w->early->total_offset == w->total_written) {
        struct early_data *d = w->early;
        failed = write_next_shard_bytes(w, d->bytes, d->size, e);
        w->early = d->next;
        free(d);
    }
    pthread_mutex_unlock(&w->lock);
    return failed;
}

int tar_writer_finish(struct tar_writer *w, uint64_t *size, struct error *e)
{
    const struct shard_layout *l = w->layout;
    while (w->shard < l->n_shards && l->shards[w->shard].data_size == w->shard_written)
        if (write_next_shard_bytes(w, "", 0, e)) /* shards without data at the end */
            return -1;
    if (w->shard < l->n_shards)
        return error_set(e, "%s is incomplete: shard %zu has %llu of %llu bytes", w->target,
                         w->shard + 1, (unsigned long long)w->shard_written,
                         (unsigned long long)l->shards[w->shard].data_size);
    if (archive_write_close(w->archive) != ARCHIVE_OK)
        return write_error(w, e);
    archive_write_free(w->archive);
    w->archive = NULL;
    int fd = w->fd;
    w->fd = -1;
    if (close(fd))
        return error_set(e, "cannot write %s: %s", w->target, strerror(errno));
    *size = w->bytes_written;
    tar_writer_free(w);
    return 0;
}
