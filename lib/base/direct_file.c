#include "direct_file.h"

#include "fs.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE     ((uint64_t)4096)      /* alignment in memory and in the file */
#define CHUNK    ((uint64_t)192 << 10) /* bytes of one write */
#define SMALLEST (4 * CHUNK)           /* bytes that are worth the threads */

enum { N_BUFFERS = 4, N_THREADS = 2 };

enum buffer_state { BUFFER_FREE, BUFFER_FILLING, BUFFER_FULL, BUFFER_IS_WRITTEN };

struct buffer {
    unsigned char *bytes; /* CHUNK, aligned to PAGE */
    enum buffer_state state;
    uint64_t chunk;
    uint64_t filled;
};

struct direct_file {
    int fd, direct;      /* through the cache; past it, or -1 */
    uint64_t begin, end; /* of the whole pages that are written past it, in chunks */
    bool *begun;         /* [chunk]: has a part of it arrived? */
    void *memory;
    struct buffer buffers[N_BUFFERS];
    pthread_mutex_t lock;
    pthread_cond_t changed; /* the state of a buffer, or `closing` */
    size_t n_threads;
    pthread_t threads[N_THREADS];
    bool closing;
    int error;       /* errno of the first write that failed */
    uint64_t cached; /* bytes that were written through the cache */
};

static int write_through_cache(struct direct_file *f, uint64_t offset, const void *bytes,
                               size_t size)
{
    if (fs_write_at(f->fd, offset, bytes, size))
        return -1;
    pthread_mutex_lock(&f->lock);
    f->cached += size;
    fs_start_writeback(f->fd, f->cached, size, false);
    pthread_mutex_unlock(&f->lock);
    return 0;
}

/* ---- chunks ---------------------------------------------------------------------------------- */

static uint64_t chunk_begin(const struct direct_file *f, uint64_t chunk)
{
    return f->begin + chunk * CHUNK;
}

static uint64_t chunk_size(const struct direct_file *f, uint64_t chunk)
{
    uint64_t left = f->end - chunk_begin(f, chunk);
    return left < CHUNK ? left : CHUNK;
}

/* What the file system does not take past the cache goes through it. */
static int write_chunk(struct direct_file *f, const struct buffer *b)
{
    uint64_t offset = chunk_begin(f, b->chunk);
    ssize_t n;
    do
        n = pwrite(f->direct, b->bytes, b->filled, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EINVAL)
        return -1;
    uint64_t done = n < 0 ? 0 : (uint64_t)n;
    return write_through_cache(f, offset + done, b->bytes + done, b->filled - done);
}

/* Called with the lock held; releases it while it writes. */
static void write_full_buffer(struct direct_file *f, struct buffer *b)
{
    b->state = BUFFER_IS_WRITTEN;
    pthread_mutex_unlock(&f->lock);
    int error = write_chunk(f, b) ? errno : 0;
    pthread_mutex_lock(&f->lock);
    f->error = f->error ? f->error : error;
    b->state = BUFFER_FREE;
    pthread_cond_broadcast(&f->changed);
}

static struct buffer *find_buffer(struct direct_file *f, enum buffer_state state)
{
    for (size_t i = 0; i < N_BUFFERS; i++)
        if (f->buffers[i].state == state)
            return &f->buffers[i];
    return NULL;
}

static struct buffer *find_buffer_of_chunk(struct direct_file *f, uint64_t chunk)
{
    for (size_t i = 0; i < N_BUFFERS; i++)
        if (f->buffers[i].state == BUFFER_FILLING && f->buffers[i].chunk == chunk)
            return &f->buffers[i];
    return NULL;
}

static void *write_full_buffers(void *file)
{
    struct direct_file *f = file;
    pthread_mutex_lock(&f->lock);
    for (;;) {
        struct buffer *b = find_buffer(f, BUFFER_FULL);
        if (b)
            write_full_buffer(f, b);
        else if (f->closing)
            break;
        else
            pthread_cond_wait(&f->changed, &f->lock);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* The buffer that gathers a chunk, also a new one. NULL if the chunk goes through the cache,
 * because all buffers were filling when it began. Called with the lock held. */
static struct buffer *choose_buffer(struct direct_file *f, uint64_t chunk)
{
    for (;;) {
        struct buffer *b = find_buffer_of_chunk(f, chunk);
        if (b || f->begun[chunk])
            return b;
        b = find_buffer(f, BUFFER_FREE);
        if (b)
            *b = (struct buffer){b->bytes, BUFFER_FILLING, chunk, 0};
        if (b || (!find_buffer(f, BUFFER_FULL) && !find_buffer(f, BUFFER_IS_WRITTEN))) {
            f->begun[chunk] = true;
            return b;
        }
        pthread_cond_wait(&f->changed, &f->lock);
    }
}

/* Called with the lock held. */
static void add_filled(struct direct_file *f, struct buffer *b, size_t size)
{
    b->filled += size;
    if (b->filled < chunk_size(f, b->chunk))
        return;
    b->state = BUFFER_FULL;
    pthread_cond_broadcast(&f->changed);
    if (f->n_threads == 0)
        write_full_buffer(f, b);
}

static int write_in_chunk(struct direct_file *f, uint64_t chunk, uint64_t offset, const void *bytes,
                          size_t size)
{
    pthread_mutex_lock(&f->lock);
    struct buffer *b = choose_buffer(f, chunk);
    int error = f->error;
    pthread_mutex_unlock(&f->lock);
    if (!b)
        return write_through_cache(f, offset, bytes, size);
    memcpy(b->bytes + (offset - chunk_begin(f, chunk)), bytes, size);
    pthread_mutex_lock(&f->lock);
    add_filled(f, b, size);
    pthread_mutex_unlock(&f->lock);
    errno = error;
    return error ? -1 : 0;
}

int direct_file_write(struct direct_file *f, uint64_t offset, const void *bytes, size_t size)
{
    const unsigned char *from = bytes;
    while (size > 0) {
        bool is_in_chunk = offset >= f->begin && offset < f->end;
        uint64_t chunk = is_in_chunk ? (offset - f->begin) / CHUNK : 0, left = UINT64_MAX;
        if (is_in_chunk)
            left = chunk_begin(f, chunk) + chunk_size(f, chunk) - offset;
        else if (offset < f->begin)
            left = f->begin - offset;
        size_t n = size < left ? size : (size_t)left;
        if (is_in_chunk ? write_in_chunk(f, chunk, offset, from, n)
                        : write_through_cache(f, offset, from, n))
            return -1;
        from += n;
        offset += n;
        size -= n;
    }
    return 0;
}

/* ---- opening and closing --------------------------------------------------------------------- */

static void start_threads(struct direct_file *f)
{
    f->memory = mem_check(aligned_alloc(PAGE, N_BUFFERS * CHUNK));
    for (size_t i = 0; i < N_BUFFERS; i++)
        f->buffers[i].bytes = (unsigned char *)f->memory + i * CHUNK;
    f->begun = mem_alloc((f->end - f->begin + CHUNK - 1) / CHUNK, sizeof *f->begun);
    while (f->n_threads < N_THREADS &&
           pthread_create(&f->threads[f->n_threads], NULL, write_full_buffers, f) == 0)
        f->n_threads++;
}

struct direct_file *direct_file_open(int fd, int folder, const char *name, uint64_t begin,
                                     uint64_t end)
{
    struct direct_file *f = mem_alloc(1, sizeof *f);
    f->fd = fd;
    f->direct = -1;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    if (end - begin >= SMALLEST)
        f->direct = openat(folder, name, O_WRONLY | O_DIRECT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (f->direct < 0)
        return f;
    f->begin = (begin + PAGE - 1) / PAGE * PAGE;
    f->end = end / PAGE * PAGE;
    start_threads(f);
    return f;
}

int direct_file_close(struct direct_file *f)
{
    if (!f)
        return 0;
    pthread_mutex_lock(&f->lock);
    f->closing = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    while (f->n_threads > 0)
        pthread_join(f->threads[--f->n_threads], NULL);
    int error = f->error;
    fs_start_writeback(f->fd, f->cached, f->cached, true);
    if (f->direct >= 0 && close(f->direct) && !error)
        error = errno;
    if (close(f->fd) && !error)
        error = errno;
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->changed);
    free(f->begun);
    free(f->memory);
    free(f);
    errno = error;
    return error ? -1 : 0;
}
