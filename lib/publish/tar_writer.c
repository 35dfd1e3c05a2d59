#include "tar_writer.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARCHIVE_BLOCK (1 << 18) /* bytes of one write */

/* What has to wait, because what comes before it is not there yet. */
struct waiting {
    struct waiting *next;
    uint64_t at;
    size_t size;
    unsigned char bytes[];
};

struct tar_writer {
    char *what;
    struct archive *archive;
    int fd;
    const struct shard_layout *shards;
    size_t current;   /* the shard at hand */
    bool begun;       /* its entry has been started */
    uint64_t written; /* bytes of its data */
    uint64_t at;      /* bytes of all data */
    struct waiting *waiting;
    pthread_mutex_t lock;
};

static void tar_writer_free(struct tar_writer *t)
{
    while (t->waiting) {
        struct waiting *next = t->waiting->next;
        free(t->waiting);
        t->waiting = next;
    }
    if (t->fd >= 0)
        close(t->fd);
    pthread_mutex_destroy(&t->lock);
    free(t->what);
    free(t);
}

/* Leaves an archive without its end blocks. libarchive (3.6) can free one in the middle of an entry
 * only by filling the entry up, which takes as long as writing it, or by losing track of its own
 * memory: so it is kept until the program ends. */
static void abandon(struct archive *archive)
{
    static struct abandoned {
        struct abandoned *next;
        struct archive *archive;
    } * all;
    struct abandoned *one = mem_alloc(1, sizeof *one);
    *one = (struct abandoned){all, archive};
    all = one;
}

void tar_writer_abandon(struct tar_writer *t)
{
    if (!t)
        return;
    if (t->archive)
        abandon(t->archive);
    tar_writer_free(t);
}

/* ---- entries --------------------------------------------------------------------------------- */

static la_ssize_t put_out(struct archive *a, void *data, const void *bytes, size_t size)
{
    const struct tar_writer *t = data;
    const char *from = bytes;
    for (size_t done = 0; done < size;) {
        ssize_t n = write(t->fd, from + done, size - done);
        if (n < 0 && errno != EINTR) {
            archive_set_error(a, errno, "%s", strerror(errno));
            return -1;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return (la_ssize_t)size;
}

static int failed(const struct tar_writer *t, struct error *e)
{
    const char *why = archive_error_string(t->archive);
    return error_set(e, "cannot write %s: %s", t->what, why ? why : "unknown error");
}

struct tar_writer *tar_writer_open(int fd, bool compressed, const char *what, struct error *e)
{
    struct tar_writer *t = mem_alloc(1, sizeof *t);
    t->what = mem_copy_text(what);
    t->fd = fd;
    pthread_mutex_init(&t->lock, NULL);
    t->archive = archive_write_new();
    if (t->archive && archive_write_set_format_pax_restricted(t->archive) == ARCHIVE_OK &&
        (!compressed || archive_write_add_filter_zstd(t->archive) == ARCHIVE_OK) &&
        archive_write_set_bytes_per_block(t->archive, ARCHIVE_BLOCK) == ARCHIVE_OK &&
        archive_write_set_bytes_in_last_block(t->archive, 1) == ARCHIVE_OK &&
        archive_write_open(t->archive, t, NULL, put_out, NULL) == ARCHIVE_OK)
        return t;
    if (t->archive)
        failed(t, e);
    else
        error_set(e, "cannot write %s: out of memory", what);
    archive_write_free(t->archive);
    t->archive = NULL;
    t->fd = -1;
    tar_writer_free(t);
    return NULL;
}

static int begin(struct tar_writer *t, const char *name, uint64_t size, struct error *e)
{
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (la_int64_t)size);
    archive_entry_set_mtime(entry, 0, 0);
    int bad = archive_write_header(t->archive, entry) != ARCHIVE_OK;
    archive_entry_free(entry);
    return bad ? failed(t, e) : 0;
}

static int put(struct tar_writer *t, const void *bytes, size_t size, struct error *e)
{
    const char *from = bytes;
    while (size > 0) {
        la_ssize_t n = archive_write_data(t->archive, from, size);
        if (n <= 0)
            return failed(t, e);
        from += n;
        size -= (size_t)n;
    }
    return 0;
}

static int end(struct tar_writer *t, struct error *e)
{
    return archive_write_finish_entry(t->archive) == ARCHIVE_OK ? 0 : failed(t, e);
}

int tar_writer_add_file(struct tar_writer *t, const char *name, const void *bytes, size_t size,
                        struct error *e)
{
    return begin(t, name, size, e) || put(t, bytes, size, e) || end(t, e) ? -1 : 0;
}

void tar_writer_set_layout(struct tar_writer *t, const struct shard_layout *shards)
{
    t->shards = shards;
}

/* ---- data ------------------------------------------------------------------------------------ */

/* The next bytes of data of an archive: a shard's entry begins with the first of its bytes. */
static int data(struct tar_writer *t, const void *bytes, size_t size, struct error *e)
{
    const char *from = bytes;
    while (t->current < t->shards->n_files) {
        const struct shard *s = &t->shards->files[t->current];
        if (!t->begun &&
            (begin(t, s->name, s->head_size + s->size, e) || put(t, s->head, s->head_size, e)))
            return -1;
        t->begun = true;
        size_t m = size < s->size - t->written ? size : (size_t)(s->size - t->written);
        if (put(t, from, m, e))
            return -1;
        t->written += m;
        t->at += m;
        from += m;
        size -= m;
        if (t->written < s->size)
            return 0;
        if (end(t, e))
            return -1;
        t->begun = false;
        t->written = 0;
        t->current++;
        if (size == 0)
            return 0;
    }
    return 0;
}

static void wait_with(struct tar_writer *t, uint64_t at, const void *bytes, size_t size)
{
    struct waiting **link = &t->waiting;
    struct waiting *w = mem_alloc(1, sizeof *w + size);
    while (*link && (*link)->at < at)
        link = &(*link)->next;
    w->at = at;
    w->size = size;
    memcpy(w->bytes, bytes, size);
    w->next = *link;
    *link = w;
}

int tar_writer_write_data(struct tar_writer *t, uint64_t at, const void *bytes, size_t size,
                          struct error *e)
{
    pthread_mutex_lock(&t->lock);
    int bad = 0;
    if (at == t->at)
        bad = data(t, bytes, size, e);
    else
        wait_with(t, at, bytes, size);
    while (!bad && t->waiting && t->waiting->at == t->at) {
        struct waiting *w = t->waiting;
        bad = data(t, w->bytes, w->size, e);
        t->waiting = w->next;
        free(w);
    }
    pthread_mutex_unlock(&t->lock);
    return bad;
}

/* Empty shards at the end, the end blocks, the descriptor. */
int tar_writer_finish(struct tar_writer *t, struct error *e)
{
    while (t->current < t->shards->n_files && t->shards->files[t->current].size == t->written)
        if (data(t, "", 0, e))
            return -1;
    if (t->current < t->shards->n_files)
        return error_set(e, "%s is not complete: %llu of %llu bytes came for its part %zu", t->what,
                         (unsigned long long)t->written,
                         (unsigned long long)t->shards->files[t->current].size, t->current + 1);
    if (archive_write_close(t->archive) != ARCHIVE_OK)
        return failed(t, e);
    archive_write_free(t->archive);
    t->archive = NULL;
    int fd = t->fd;
    t->fd = -1;
    if (close(fd))
        return error_set(e, "cannot write %s: %s", t->what, strerror(errno));
    tar_writer_free(t);
    return 0;
}
