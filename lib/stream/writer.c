#include "writer.h"

#include "encode.h"
#include "fatal.h"
#include "hash.h"
#include "mapped_file.h"
#include "pipe_capacity.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PENDING_MAX     ((size_t)1 << 16) /* bytes of trailers and headers before a write */
#define FATAL_ROOM      1024 /* bytes of an error record: a sentence and a filter's name */
#define FATAL_WAITS_MAX 1000 /* milliseconds for a write of another thread */

enum { IDLE, WRITING, ENDED };

struct writer {
    int fd;
    char *what;
    struct bytes pending;   /* records not yet written */
    struct bytes map;       /* the record being encoded */
    XXH3_state_t *hash;     /* of the stream, except the contents of payload bins */
    XXH3_state_t *checksum; /* of the current tensor */
    uint64_t tensors, payload_bytes;
    bool started;      /* the magic has been written */
    bool write_failed; /* possibly inside an object: no error record can follow */
    bool has_written;  /* the magic is on its way */
    atomic_int state;  /* IDLE, or WRITING, or ENDED by fatal_exit */
    struct fatal_action on_fatal;
    struct bytes last, record; /* room for an error record when there is no more memory */
};

static bool change_state(struct writer *w, int from, int to)
{
    return atomic_compare_exchange_strong(&w->state, &from, to);
}

/* Encodes an error record into the room that was reserved. */
static void encode_last_record(struct writer *w, const char *program, const char *sentence)
{
    w->last.size = w->record.size = 0;
    if (!w->has_written)
        encode_magic(&w->last);
    encode_error_record(&w->record, program, sentence);
    encode_uint(&w->last, w->record.size);
    bytes_append(&w->last, w->record.data, w->record.size);
}

/* A fatal_action: an error record in place of what has not been written, so that the reader adds no
 * sentence of its own. */
static void write_last_record(void *writer, const char *program, const char *sentence)
{
    struct writer *w = writer;
    const struct timespec millisecond = {.tv_nsec = 1000000};
    for (int i = 0; !change_state(w, IDLE, ENDED); i++) {
        if (i == FATAL_WAITS_MAX)
            return;
        nanosleep(&millisecond, NULL);
    }
    if (w->write_failed || strlen(program) + strlen(sentence) > FATAL_ROOM / 2)
        return;
    encode_last_record(w, program, sentence);
    ssize_t ignored = write(w->fd, w->last.data, w->last.size);
    (void)ignored;
}

static void reserve_last_record(struct writer *w)
{
    w->last = (struct bytes){.data = mem_alloc(FATAL_ROOM, 1), .capacity = FATAL_ROOM};
    w->record = (struct bytes){.data = mem_alloc(FATAL_ROOM, 1), .capacity = FATAL_ROOM};
    w->on_fatal = (struct fatal_action){.run = write_last_record, .data = w};
    fatal_add_action(&w->on_fatal);
}

struct writer *writer_open(int fd, const char *what)
{
    struct writer *w = mem_alloc(1, sizeof *w);
    w->fd = fd;
    w->what = mem_copy_text(what);
    w->hash = hash_new_state();
    w->checksum = hash_new_state();
    reserve_last_record(w);
    pipe_capacity_enlarge(fd);
    return w;
}

/* Writes the pending records, then `size` bytes. */
static int write_pending(struct writer *w, const void *bytes, size_t size, struct error *e)
{
    struct iovec parts[2] = {{w->pending.data, w->pending.size}, {(void *)bytes, size}};
    size_t left = w->pending.size + size;
    while (left > 0 && !w->write_failed) {
        int skip = parts[0].iov_len == 0;
        ssize_t n = writev(w->fd, parts + skip, 2 - skip);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            w->write_failed = true;
            return error_set(e, "cannot write to %s: %s", w->what,
                             errno == EPIPE ? "its reader has exited"
                                            : mapped_file_write_error(errno));
        }
        left -= (size_t)n;
        for (int i = skip; i < 2 && n > 0; i++) {
            size_t done = (size_t)n < parts[i].iov_len ? (size_t)n : parts[i].iov_len;
            parts[i].iov_base = (char *)parts[i].iov_base + done;
            parts[i].iov_len -= done;
            n -= (ssize_t)done;
        }
    }
    w->pending.size = 0;
    return w->write_failed ? -1 : 0;
}

/* The same, unless fatal_exit has written the last record. */
static int write_pending_and_bytes(struct writer *w, const void *bytes, size_t size,
                                   struct error *e)
{
    while (!change_state(w, IDLE, WRITING))
        pause(); /* the process is about to end */
    w->has_written = true;
    int failed = write_pending(w, bytes, size, e);
    change_state(w, WRITING, IDLE);
    return failed;
}

/* Appends the encoded map and the length before it to the pending records. */
static void append_map_to_pending(struct writer *w)
{
    size_t from = w->pending.size;
    encode_uint(&w->pending, w->map.size);
    bytes_append(&w->pending, w->map.data, w->map.size);
    XXH3_64bits_update(w->hash, w->pending.data + from, w->pending.size - from);
}

static int check_record_size(struct writer *w, const char *what, struct error *e)
{
    if (w->map.size > RECORD_MAX)
        return error_set(e, "the record of %s has %zu bytes; the maximum is %zu", what, w->map.size,
                         RECORD_MAX);
    return 0;
}

static void append_magic_to_pending(struct writer *w)
{
    encode_magic(&w->pending);
    XXH3_64bits_update(w->hash, w->pending.data, w->pending.size);
    w->started = true;
}

int writer_write_header(struct writer *w, const struct header *h, struct error *e)
{
    append_magic_to_pending(w);
    w->map.size = 0;
    encode_header(&w->map, h);
    if (check_record_size(w, "the stream header", e))
        return -1;
    append_map_to_pending(w);
    return write_pending_and_bytes(w, NULL, 0, e);
}

int writer_write_tensor(struct writer *w, const struct tensor *t, struct error *e)
{
    w->map.size = 0;
    encode_tensor_record(&w->map, t);
    if (check_record_size(w, t->name, e))
        return -1;
    append_map_to_pending(w);
    XXH3_64bits_reset(w->checksum);
    XXH3_64bits_update(w->checksum, w->map.data, w->map.size);
    w->tensors++;
    return 0;
}

int writer_write_payload(struct writer *w, const void *bytes, size_t size, struct error *e)
{
    size_t from = w->pending.size;
    if (size > UINT32_MAX)
        return error_set(e, "a block of %zu bytes is too large for a stream", size);
    encode_bin_header(&w->pending, (uint32_t)size);
    XXH3_64bits_update(w->hash, w->pending.data + from, w->pending.size - from);
    XXH3_64bits_update(w->checksum, bytes, size);
    w->payload_bytes += size;
    return write_pending_and_bytes(w, bytes, size, e);
}

int writer_write_tensor_trailer(struct writer *w, struct error *e)
{
    struct trailer t = {.has_checksum = true, .checksum = XXH3_64bits_digest(w->checksum)};
    w->map.size = 0;
    encode_tensor_trailer(&w->map, &t);
    append_map_to_pending(w);
    return w->pending.size < PENDING_MAX ? 0 : write_pending_and_bytes(w, NULL, 0, e);
}

int writer_write_end_record(struct writer *w, size_t n_hashes, const char **models,
                            const uint64_t *hashes, struct error *e)
{
    struct end_record end = {.tensors = w->tensors,
                             .payload_bytes = w->payload_bytes,
                             .has_hash = true,
                             .n_hashes = n_hashes,
                             .hashed_models = models,
                             .hashes = hashes};
    w->map.size = 0;
    encode_end_record(&w->map, &end);
    append_map_to_pending(w);
    encode_hash(&w->pending, XXH3_64bits_digest(w->hash));
    return write_pending_and_bytes(w, NULL, 0, e);
}

void writer_write_error_record(struct writer *w, const char *stage, const char *sentence)
{
    struct error ignored;
    if (w->write_failed)
        return;
    if (!w->started)
        append_magic_to_pending(w);
    w->map.size = 0;
    encode_error_record(&w->map, stage, sentence);
    append_map_to_pending(w);
    write_pending_and_bytes(w, NULL, 0, &ignored);
}

bool writer_is_reader_gone(const struct writer *w)
{
    struct pollfd p = {.fd = w->fd, .events = POLLOUT};
    return poll(&p, 1, 0) > 0 && (p.revents & POLLERR);
}

int writer_close(struct writer *w, struct error *e)
{
    if (!w)
        return 0;
    int failed = w->write_failed ? 0 : write_pending_and_bytes(w, NULL, 0, e);
    fatal_remove_action(&w->on_fatal);
    if (close(w->fd) < 0 && !failed)
        failed = error_set(e, "cannot close %s: %s", w->what, strerror(errno));
    bytes_free(&w->pending);
    bytes_free(&w->map);
    bytes_free(&w->last);
    bytes_free(&w->record);
    XXH3_freeState(w->hash);
    XXH3_freeState(w->checksum);
    free(w->what);
    free(w);
    return failed;
}
