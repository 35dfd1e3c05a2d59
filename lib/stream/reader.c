#include "reader.h"

#include "decode.h"
#include "hash.h"
#include "spool.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define BUFFER ((size_t)1 << 16)
#define AHEAD  ((size_t)1 << 12) /* read beyond what was asked for */

struct reader {
    int fd;
    int stop;            /* readable when nobody wants more; -1: that cannot be said */
    bool owns_fd, saved; /* a saved stream: nobody else has printed its error record */
    char *what;
    struct header *header;
    unsigned char buffer[BUFFER];
    size_t start, filled;   /* unread bytes: buffer[start..filled) */
    uint64_t taken;         /* bytes of the stream taken so far */
    uint64_t last_payload;  /* where the last payload started */
    struct bytes map;       /* the encoded map read last */
    XXH3_state_t *hash;     /* of everything but the contents of payload bins */
    XXH3_state_t *checksum; /* of the tensor at hand */
    size_t tensor;          /* how many tensors came */
    size_t bins_left;       /* of the tensor at hand */
    uint64_t payload;       /* bytes of payload so far */
    bool lacks_checksums, ended;
    struct end_record end;
    struct arena arena; /* of the end record */
    off_t first_tensor; /* where it starts in a file that can be rewound */
    XXH3_state_t *hash_first;
};

/* ---- bytes ------------------------------------------------------------------------------- */

/* Waits for input, or for the word that none is wanted. */
static int await(struct reader *r, struct error *e)
{
    struct pollfd either[2] = {{.fd = r->fd, .events = POLLIN}, {.fd = r->stop, .events = POLLIN}};
    if (r->stop < 0)
        return 0;
    while (poll(either, 2, -1) < 0 && errno == EINTR)
        ;
    return either[1].revents ? error_set(e, "%s is not read to its end", r->what) : 0;
}

/* Up to `size` bytes; 0 at the end of the input, -1 on error. */
static ssize_t read_some(struct reader *r, void *to, size_t size, struct error *e)
{
    ssize_t n;
    if (await(r, e))
        return -1;
    do
        n = read(r->fd, to, size);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return error_set(e, "cannot read %s: %s", r->what, strerror(errno));
    return n;
}

/* `size` bytes from buffer and input; how many there were before the input ended, or -1. What comes
 * goes straight to `to`, and a little of what follows into the buffer: with one call a block and
 * the head of the next. */
static ssize_t take(struct reader *r, void *to, size_t size, struct error *e)
{
    size_t got = r->filled - r->start < size ? r->filled - r->start : size;
    if (got > 0)
        memcpy(to, r->buffer + r->start, got);
    r->start += got;
    while (got < size) {
        struct iovec parts[2] = {{(char *)to + got, size - got}, {r->buffer, AHEAD}};
        if (await(r, e))
            return -1;
        ssize_t n = readv(r->fd, parts, 2);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(e, "cannot read %s: %s", r->what, strerror(errno));
        if (n == 0)
            break;
        size_t here = (size_t)n < size - got ? (size_t)n : size - got;
        got += here;
        r->start = 0;
        r->filled = (size_t)n - here;
    }
    r->taken += got;
    return (ssize_t)got;
}

static int cut(struct reader *r, struct error *e)
{
    return error_set(e, "%s is cut: the stream stops without its end record", r->what);
}

/* `size` bytes that count for the stream's hash. */
static int take_all(struct reader *r, void *to, size_t size, struct error *e)
{
    ssize_t n = take(r, to, size, e);
    if (n < 0)
        return -1;
    if ((size_t)n < size)
        return cut(r, e);
    XXH3_64bits_update(r->hash, to, size);
    return 0;
}

/* ---- objects ----------------------------------------------------------------------------- */

/* The head of an integer or a bin and its value. */
static int take_head(struct reader *r, bool bin, uint64_t *value, struct error *e)
{
    unsigned char head[9];
    bool is_bin;
    if (take_all(r, head, 1, e))
        return -1;
    size_t length = record_head_length(head[0], &is_bin);
    if (length == 0 || is_bin != bin)
        return error_set(e, "broken stream: %s expected, found byte 0x%02x",
                         bin ? "payload" : "a record", head[0]);
    if (length > 1 && take_all(r, head + 1, length - 1, e))
        return -1;
    *value = record_head_value(head);
    return 0;
}

/* Relays what a failed stage says: it has printed its sentence itself, unless the stream was
 * saved, in which case its first reader prints it. */
static int relay(struct reader *r, struct error *e)
{
    const char *stage, *sentence;
    if (decode_error(r->map.data, r->map.size, &r->arena, &stage, &sentence, e))
        return -1;
    error_set(e, "%s", sentence);
    snprintf(e->stage, sizeof e->stage, "%s", stage);
    if (r->saved)
        fprintf(stderr, "%s: %s\n", stage, e->text);
    e->printed = true;
    return -1;
}

/* Reads the next map into r->map and returns its type. */
static int take_map(struct reader *r, struct error *e)
{
    uint64_t size;
    if (take_head(r, false, &size, e))
        return -1;
    if (size > RECORD_MAX)
        return error_set(e, "broken stream: a record of %llu bytes (at most %zu are read)",
                         (unsigned long long)size, RECORD_MAX);
    /* In pieces, so that a length which lies costs no more memory than bytes that came. */
    r->map.size = 0;
    while (r->map.size < size) {
        size_t piece = size - r->map.size < BUFFER ? size - r->map.size : BUFFER;
        unsigned char bytes[BUFFER];
        if (take_all(r, bytes, piece, e))
            return -1;
        bytes_append(&r->map, bytes, piece);
    }
    int type = decode_record_type(r->map.data, r->map.size, e);
    return type == RECORD_ERROR ? relay(r, e) : type;
}

/* ---- the stream -------------------------------------------------------------------------- */

static int take_magic(struct reader *r, struct error *e)
{
    unsigned char magic[5] = {0};
    ssize_t n = take(r, magic, sizeof magic, e);
    if (n < 0)
        return -1;
    if (n == 0)
        return error_set(e, "%s is empty; a tensor stream was expected", r->what);
    if (memcmp(magic, "\xa4" RECORD_MAGIC, sizeof magic) != 0)
        return error_set(e, "%s is not a tensor stream (it does not begin with %s)", r->what,
                         RECORD_MAGIC);
    XXH3_64bits_update(r->hash, magic, sizeof magic);
    return 0;
}

struct reader *reader_open(int fd, const char *what, struct error *e)
{
    struct reader *r = mem_alloc(1, sizeof *r);
    struct stat st;
    r->fd = fd;
    r->stop = -1;
    r->what = mem_copy_text(what);
    r->saved = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    r->header = header_new();
    r->hash = XXH3_createState();
    r->checksum = XXH3_createState();
    r->hash_first = XXH3_createState();
    XXH3_64bits_reset(r->hash);
    if (take_magic(r, e) == 0) {
        int type = take_map(r, e);
        if (type == RECORD_HEADER) {
            if (decode_header(r->map.data, r->map.size, r->header, e) == 0)
                return r;
        } else if (type >= 0) {
            error_set(e, "broken stream: it does not start with its header");
        }
    }
    reader_close(r);
    return NULL;
}

void reader_close(struct reader *r)
{
    if (!r)
        return;
    if (r->owns_fd)
        close(r->fd);
    if (r->stop >= 0)
        close(r->stop);
    header_free(r->header);
    bytes_free(&r->map);
    XXH3_freeState(r->hash);
    XXH3_freeState(r->checksum);
    XXH3_freeState(r->hash_first);
    arena_free(&r->arena);
    free(r->what);
    free(r);
}

int reader_make_stoppable(struct reader *r)
{
    if (r->stop < 0)
        r->stop = eventfd(0, EFD_CLOEXEC);
    return r->stop < 0 ? -1 : 0;
}

void reader_stop(struct reader *r)
{
    eventfd_write(r->stop, 1);
}

const struct header *reader_header(const struct reader *r)
{
    return r->header;
}

const struct end_record *reader_end_record(const struct reader *r)
{
    return &r->end;
}

uint64_t reader_payload_offset(const struct reader *r)
{
    return r->last_payload;
}

bool reader_lacks_checksums(const struct reader *r)
{
    return r->lacks_checksums;
}

/* Nothing may follow the stream, and its hash must be the one that was computed on the way. */
static int finish(struct reader *r, struct error *e)
{
    uint64_t hash = XXH3_64bits_digest(r->hash), size;
    if (decode_end(r->map.data, r->map.size, &r->arena, &r->end, e))
        return -1;
    if (r->end.tensors != r->tensor || r->tensor != r->header->n_tensors)
        return error_set(e, "broken stream: %zu tensors came, the manifest announces %zu",
                         r->tensor, r->header->n_tensors);
    if (r->end.payload_bytes != r->payload)
        return error_set(e, "broken stream: %llu bytes of payload came, %llu are announced",
                         (unsigned long long)r->payload, (unsigned long long)r->end.payload_bytes);
    if (r->end.has_hash) {
        unsigned char found[8];
        if (take_head(r, true, &size, e))
            return -1;
        if (size != 8)
            return error_set(e, "broken stream: its hash has %llu bytes instead of 8",
                             (unsigned long long)size);
        if (take_all(r, found, 8, e))
            return -1;
        for (int i = 0; i < 8; i++)
            if (found[i] != (unsigned char)(hash >> (56 - 8 * i)))
                return error_set(e, "broken stream: the hash of its records is wrong");
    } else {
        r->lacks_checksums = true;
    }
    char more;
    ssize_t n = take(r, &more, 1, e);
    if (n > 0)
        return error_set(e, "broken stream: bytes follow after its end");
    r->ended = true;
    return n < 0 ? -1 : 0;
}

/* A tensor's own header must be what the manifest announced, weights and attributes apart. */
static bool as_announced(const struct tensor *t, const struct tensor *entry)
{
    if (strcmp(t->name, entry->name) != 0 || !tensor_same_shape(t, entry) ||
        t->n_vectors != entry->n_vectors)
        return false;
    for (size_t k = 0; k < t->n_vectors; k++)
        if (t->vectors[k].model != entry->vectors[k].model ||
            t->vectors[k].dtype != entry->vectors[k].dtype)
            return false;
    return true;
}

int reader_next_tensor(struct reader *r, struct arena *a, struct tensor *t, struct error *e)
{
    if (r->ended)
        return 0;
    int type = take_map(r, e);
    if (type < 0)
        return -1;
    if (type == RECORD_END)
        return finish(r, e);
    if (type != RECORD_TENSOR)
        return error_set(e, "broken stream: a tensor or the end expected, found another record");
    if (decode_tensor(r->map.data, r->map.size, r->header, a, t, e))
        return -1;
    if (r->tensor == r->header->n_tensors || !as_announced(t, &r->header->tensors[r->tensor]))
        return error_set(e, "broken stream: tensor %s is not what the manifest announces", t->name);
    t->input_index = r->tensor++;
    r->bins_left = tensor_block_count(t) * t->n_vectors;
    XXH3_64bits_reset(r->checksum);
    XXH3_64bits_update(r->checksum, r->map.data, r->map.size);
    if (r->bins_left == 0 && reader_read_payload(r, NULL, 0, e))
        return -1;
    return 1;
}

static int take_trailer(struct reader *r, struct error *e)
{
    struct trailer t;
    int type = take_map(r, e);
    if (type < 0)
        return -1;
    if (type != RECORD_TRAILER)
        return error_set(e, "broken stream: a tensor's trailer expected, found another record");
    if (decode_trailer(r->map.data, r->map.size, &t, e))
        return -1;
    if (t.has_checksum && t.checksum != XXH3_64bits_digest(r->checksum))
        return error_set(e, "broken stream: the checksum of tensor %s is wrong",
                         r->header->tensors[r->tensor - 1].name);
    r->lacks_checksums |= !t.has_checksum;
    return 0;
}

int reader_read_payload(struct reader *r, void *to, size_t size, struct error *e)
{
    if (r->bins_left > 0) {
        uint64_t announced;
        unsigned char first;
        /* A failed stage may say so in place of a block. */
        if (r->start == r->filled) {
            ssize_t n = read_some(r, r->buffer, AHEAD, e);
            if (n <= 0)
                return n < 0 ? -1 : cut(r, e);
            r->start = 0;
            r->filled = (size_t)n;
        }
        first = r->buffer[r->start];
        bool is_bin;
        if (record_head_length(first, &is_bin) && !is_bin) {
            int type = take_map(r, e);
            return type < 0 ? -1 : error_set(e, "broken stream: payload expected, found a record");
        }
        if (take_head(r, true, &announced, e))
            return -1;
        if (announced != size)
            return error_set(e, "broken stream: a block of tensor %s has %llu bytes instead of %zu",
                             r->header->tensors[r->tensor - 1].name, (unsigned long long)announced,
                             size);
        r->last_payload = r->taken;
        ssize_t n = take(r, to, size, e);
        if (n < 0)
            return -1;
        if ((size_t)n < size)
            return cut(r, e);
        XXH3_64bits_update(r->checksum, to, size);
        r->payload += size;
        r->bins_left--;
    }
    return r->bins_left == 0 ? take_trailer(r, e) : 0;
}

/* ---- more than once ---------------------------------------------------------------------- */

static int copy_rest(struct reader *r, int to, struct error *e)
{
    uint64_t at = 0;
    for (;;) {
        while (r->start < r->filled) {
            ssize_t n = write(to, r->buffer + r->start, r->filled - r->start);
            if (n < 0 && errno != EINTR)
                return error_set(e, "cannot keep %s in a temporary file (%llu bytes so far): %s",
                                 r->what, (unsigned long long)at, strerror(errno));
            r->start += n > 0 ? (size_t)n : 0;
            at += n > 0 ? (uint64_t)n : 0;
        }
        ssize_t n = read_some(r, r->buffer, BUFFER, e);
        if (n <= 0)
            return (int)n;
        r->start = 0;
        r->filled = (size_t)n;
    }
}

int reader_make_rewindable(struct reader *r, const char *folder, bool *copied, struct error *e)
{
    off_t at = lseek(r->fd, 0, SEEK_CUR);
    *copied = !r->saved || at < 0;
    if (*copied) {
        int fd = spool_open_temporary_file(folder, e);
        if (fd < 0)
            return -1;
        if (copy_rest(r, fd, e)) {
            close(fd);
            return -1;
        }
        r->fd = fd;
        r->owns_fd = true;
        r->start = r->filled = 0;
        r->first_tensor = 0;
    } else {
        r->first_tensor = at - (off_t)(r->filled - r->start);
    }
    XXH3_copyState(r->hash_first, r->hash);
    return reader_rewind(r, e);
}

int reader_rewind(struct reader *r, struct error *e)
{
    if (lseek(r->fd, r->first_tensor, SEEK_SET) < 0)
        return error_set(e, "cannot go back in %s: %s", r->what, strerror(errno));
    XXH3_copyState(r->hash, r->hash_first);
    r->start = r->filled = 0;
    r->tensor = r->bins_left = 0;
    r->payload = 0;
    r->ended = false;
    return 0;
}
