#include "reader.h"

#include "byte_input.h"
#include "decode.h"
#include "hash.h"
#include "input_file.h"
#include "pipe_capacity.h"
#include "printable.h"
#include "read_files.h"
#include "spool.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define BUFFER     ((size_t)1 << 16)
#define READ_AHEAD ((size_t)1 << 12) /* bytes read beyond those requested */

struct reader {
    int fd;
    int stop_event; /* an eventfd that becomes readable on reader_stop; -1: not available */
    bool owns_fd;
    struct byte_input *decompressed; /* the rest of the input; NULL: it is not compressed */
    bool is_regular_file; /* a saved stream: its error sentence has not been printed yet */
    char *what;           /* the input's name in messages */
    struct header *header;
    unsigned char buffer[BUFFER];
    size_t start, filled;    /* unread bytes: buffer[start..filled) */
    uint64_t offset;         /* bytes of the stream read so far */
    uint64_t payload_offset; /* where the last payload started */
    struct bytes map;        /* the last encoded map */
    XXH3_state_t *hash;      /* of the stream, except the contents of payload bins */
    XXH3_state_t *checksum;  /* of the current tensor */
    size_t tensors;          /* read so far, including the current one */
    size_t bins_left;        /* of the current tensor */
    uint64_t payload_bytes;  /* read so far */
    bool lacks_checksums, ended;
    struct end_record end;
    struct arena arena;                /* of the end record */
    struct input_file_version version; /* of a regular file */
    off_t first_tensor; /* its offset in the file, for reader_rewind; and the hash up to there */
    XXH3_state_t *hash_before_first_tensor;
};

/* ---- bytes ------------------------------------------------------------------------------- */

/* Waits for input; fails on reader_stop. */
static int wait_for_input(struct reader *r, struct error *e)
{
    struct pollfd events[2] = {{.fd = r->fd, .events = POLLIN},
                               {.fd = r->stop_event, .events = POLLIN}};
    if (r->stop_event < 0)
        return 0;
    while (poll(events, 2, -1) < 0 && errno == EINTR)
        ;
    return events[1].revents ? error_set(e, "reading %s was interrupted", r->what) : 0;
}

/* Reads up to `size` bytes from the descriptor; 0 at the end of the input, -1 on error. */
static ssize_t read_input(struct reader *r, void *to, size_t size, struct error *e)
{
    ssize_t n;
    if (r->decompressed)
        return byte_input_read(r->decompressed, to, size, e);
    if (wait_for_input(r, e))
        return -1;
    do
        n = read(r->fd, to, size);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return error_set(e, "cannot read %s: %s", r->what, strerror(errno));
    return n;
}

/* Reads `size` bytes from the buffer and the input; returns how many there were before the end of
 * the input, or -1. Each system call reads directly into `to`, and up to READ_AHEAD bytes after
 * that into the buffer: one call reads a block and the header of the next. */
static ssize_t read_buffered_bytes_up_to(struct reader *r, void *to, size_t size, struct error *e)
{
    size_t got = r->filled - r->start < size ? r->filled - r->start : size;
    if (got > 0)
        memcpy(to, r->buffer + r->start, got);
    r->start += got;
    while (got < size && !r->decompressed) {
        struct iovec parts[2] = {{(char *)to + got, size - got}, {r->buffer, READ_AHEAD}};
        if (wait_for_input(r, e))
            return -1;
        ssize_t n = readv(r->fd, parts, 2);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(e, "cannot read %s: %s", r->what, strerror(errno));
        if (n == 0)
            break;
        size_t direct = (size_t)n < size - got ? (size_t)n : size - got;
        got += direct;
        r->start = 0;
        r->filled = (size_t)n - direct;
    }
    if (got < size && r->decompressed) {
        long long n = byte_input_read_fully(r->decompressed, (char *)to + got, size - got, e);
        if (n < 0)
            return -1;
        got += (size_t)n;
    }
    r->offset += got;
    return (ssize_t)got;
}

static int report_truncated_stream(struct reader *r, struct error *e)
{
    return error_set(e, "%s is truncated: the stream ends without its end record", r->what);
}

/* Reads exactly `size` bytes and adds them to the stream's hash. */
static int read_and_hash_bytes(struct reader *r, void *to, size_t size, struct error *e)
{
    ssize_t n = read_buffered_bytes_up_to(r, to, size, e);
    if (n < 0)
        return -1;
    if ((size_t)n < size)
        return report_truncated_stream(r, e);
    XXH3_64bits_update(r->hash, to, size);
    return 0;
}

/* ---- objects ----------------------------------------------------------------------------- */

/* Reads the header of a bin or of an integer, and its value. */
static int read_bin_or_integer_header(struct reader *r, bool bin, uint64_t *value, struct error *e)
{
    unsigned char head[9];
    bool is_bin;
    if (read_and_hash_bytes(r, head, 1, e))
        return -1;
    size_t length = record_head_length(head[0], &is_bin);
    if (length == 0 || is_bin != bin)
        return error_set(e, "broken stream: expected %s, found byte 0x%02x",
                         bin ? "payload" : "a record", head[0]);
    if (length > 1 && read_and_hash_bytes(r, head + 1, length - 1, e))
        return -1;
    *value = record_head_value(head);
    return 0;
}

/* Returns the error of a failed stage. That stage has printed its sentence; for a saved stream it
 * is printed here. */
static int set_error_from_error_record(struct reader *r, struct error *e)
{
    const char *stage, *sentence;
    if (decode_error_record(r->map.data, r->map.size, &r->arena, &stage, &sentence, e))
        return -1;
    error_set(e, "%s", sentence);
    snprintf(e->stage, sizeof e->stage, "%s", stage);
    if (r->is_regular_file)
        printable_message("%s: %s (recorded in %s)", stage, e->text, r->what);
    e->printed = true;
    return -1;
}

/* Reads the next record into r->map and returns its type, or -1; an error record is an error. */
static int read_record(struct reader *r, struct error *e)
{
    uint64_t size;
    if (read_bin_or_integer_header(r, false, &size, e))
        return -1;
    if (size > RECORD_MAX)
        return error_set(e, "broken stream: a record of %llu bytes (the maximum is %zu)",
                         (unsigned long long)size, RECORD_MAX);
    /* Memory grows with the bytes that arrive, because the length may be wrong. */
    r->map.size = 0;
    while (r->map.size < size) {
        size_t piece = size - r->map.size < BUFFER ? size - r->map.size : BUFFER;
        unsigned char bytes[BUFFER];
        if (read_and_hash_bytes(r, bytes, piece, e))
            return -1;
        bytes_append(&r->map, bytes, piece);
    }
    int type = decode_record_type(r->map.data, r->map.size, e);
    return type == RECORD_ERROR ? set_error_from_error_record(r, e) : type;
}

/* ---- the stream -------------------------------------------------------------------------- */

#define MAGIC_SIZE 5

/* Reads the first bytes, decompressed; returns how many there are, or -1. */
static ssize_t read_first_bytes(struct reader *r, unsigned char *magic, struct error *e)
{
    unsigned char first[MAGIC_SIZE + READ_AHEAD];
    ssize_t n = read_buffered_bytes_up_to(r, magic, MAGIC_SIZE, e);
    if (n < 0)
        return -1;
    size_t ahead = r->filled - r->start;
    memcpy(first, magic, (size_t)n);
    memcpy(first + n, r->buffer + r->start, ahead);
    if (!byte_input_is_compressed(first, (size_t)n + ahead))
        return n;
    r->decompressed = byte_input_open(r->fd, r->what, first, (size_t)n + ahead, e);
    if (!r->decompressed)
        return -1;
    r->start = r->filled = 0;
    r->offset = 0;
    return read_buffered_bytes_up_to(r, magic, MAGIC_SIZE, e);
}

static int read_and_check_magic(struct reader *r, struct error *e)
{
    unsigned char magic[MAGIC_SIZE] = {0};
    ssize_t n = read_first_bytes(r, magic, e);
    if (n < 0)
        return -1;
    if (n == 0)
        return error_set(e, "%s is empty; expected a tensor stream", r->what);
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
    r->stop_event = -1;
    r->what = mem_copy_text(what);
    pipe_capacity_enlarge(fd);
    r->is_regular_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    if (r->is_regular_file) {
        r->version = input_file_version(&st);
        read_files_add(&st);
    }
    r->header = header_new();
    r->hash = hash_new_state();
    r->checksum = hash_new_state();
    r->hash_before_first_tensor = hash_new_state();
    if (read_and_check_magic(r, e) == 0) {
        int type = read_record(r, e);
        if (type == RECORD_HEADER) {
            if (decode_header(r->map.data, r->map.size, r->header, e) == 0)
                return r;
        } else if (type >= 0) {
            error_set(e, "broken stream: the first record is not the header");
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
    if (r->stop_event >= 0)
        close(r->stop_event);
    byte_input_close(r->decompressed);
    header_free(r->header);
    bytes_free(&r->map);
    XXH3_freeState(r->hash);
    XXH3_freeState(r->checksum);
    XXH3_freeState(r->hash_before_first_tensor);
    arena_free(&r->arena);
    free(r->what);
    free(r);
}

int reader_make_stoppable(struct reader *r)
{
    if (r->decompressed) /* what it waits for is not the descriptor alone */
        return -1;
    if (r->stop_event < 0)
        r->stop_event = eventfd(0, EFD_CLOEXEC);
    return r->stop_event < 0 ? -1 : 0;
}

void reader_stop(struct reader *r)
{
    eventfd_write(r->stop_event, 1);
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
    return r->payload_offset;
}

bool reader_lacks_checksums(const struct reader *r)
{
    return r->lacks_checksums;
}

/* Reads the hash of the stream and compares it with that of the bytes that were read. */
static int check_stream_hash(struct reader *r, uint64_t expected, struct error *e)
{
    uint64_t size;
    unsigned char found[8];
    if (read_bin_or_integer_header(r, true, &size, e))
        return -1;
    if (size != 8)
        return error_set(e, "broken stream: its hash has %llu bytes instead of 8",
                         (unsigned long long)size);
    if (read_and_hash_bytes(r, found, 8, e))
        return -1;
    return record_read_big_endian(found, 8) == expected
               ? 0
               : error_set(e, "broken stream: wrong hash of its records");
}

/* Checks the end record in r->map and the hash, and that nothing follows. */
static int check_end_record(struct reader *r, struct error *e)
{
    uint64_t hash = XXH3_64bits_digest(r->hash);
    if (decode_end_record(r->map.data, r->map.size, &r->arena, &r->end, e))
        return -1;
    if (r->end.tensors != r->tensors || r->tensors != r->header->n_tensors)
        return error_set(e, "broken stream: found %zu tensors, the manifest has %zu", r->tensors,
                         r->header->n_tensors);
    if (r->end.payload_bytes != r->payload_bytes)
        return error_set(e, "broken stream: found %llu bytes of payload, the end record says %llu",
                         (unsigned long long)r->payload_bytes,
                         (unsigned long long)r->end.payload_bytes);
    if (r->end.has_hash && check_stream_hash(r, hash, e))
        return -1;
    r->lacks_checksums |= !r->end.has_hash;
    char byte;
    ssize_t n = read_buffered_bytes_up_to(r, &byte, 1, e);
    if (n > 0)
        return error_set(e, "broken stream: bytes follow its end");
    r->ended = true;
    if (n == 0 && r->is_regular_file && !r->owns_fd) /* it may be read several times */
        return input_file_check_unchanged_fd(r->fd, r->what, &r->version, e);
    return n < 0 ? -1 : 0;
}

/* True if a tensor header matches its manifest entry, apart from weights and attributes. */
static bool matches_manifest_entry(const struct tensor *t, const struct tensor *entry)
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
    int type = read_record(r, e);
    if (type < 0)
        return -1;
    if (type == RECORD_END)
        return check_end_record(r, e);
    if (type != RECORD_TENSOR)
        return error_set(e, "broken stream: expected a tensor or the end, found another record");
    if (decode_tensor_record(r->map.data, r->map.size, r->header, a, t, e))
        return -1;
    if (r->tensors == r->header->n_tensors ||
        !matches_manifest_entry(t, &r->header->tensors[r->tensors]))
        return error_set(e, "broken stream: tensor %s does not match the manifest", t->name);
    t->input_index = r->tensors++;
    r->bins_left = tensor_block_count(t) * t->n_vectors;
    XXH3_64bits_reset(r->checksum);
    XXH3_64bits_update(r->checksum, r->map.data, r->map.size);
    if (r->bins_left == 0 && reader_read_payload(r, NULL, 0, e))
        return -1;
    return 1;
}

static const char *current_tensor_name(const struct reader *r)
{
    return r->header->tensors[r->tensors - 1].name;
}

static int read_tensor_trailer(struct reader *r, struct error *e)
{
    struct trailer t;
    int type = read_record(r, e);
    if (type < 0)
        return -1;
    if (type != RECORD_TRAILER)
        return error_set(e, "broken stream: expected a tensor's trailer, found another record");
    if (decode_tensor_trailer(r->map.data, r->map.size, &t, e))
        return -1;
    if (t.has_checksum && t.checksum != XXH3_64bits_digest(r->checksum))
        return error_set(e, "broken stream: wrong checksum of tensor %s", current_tensor_name(r));
    r->lacks_checksums |= !t.has_checksum;
    return 0;
}

/* Reads input into the buffer if it is empty. */
static int read_input_into_empty_buffer(struct reader *r, struct error *e)
{
    if (r->start < r->filled)
        return 0;
    ssize_t n = read_input(r, r->buffer, READ_AHEAD, e);
    if (n <= 0)
        return n < 0 ? -1 : report_truncated_stream(r, e);
    r->start = 0;
    r->filled = (size_t)n;
    return 0;
}

/* Reads the header of a bin of `size` bytes. A failed stage may write an error record instead. */
static int read_payload_bin_header(struct reader *r, size_t size, struct error *e)
{
    uint64_t found;
    bool is_bin;
    if (read_input_into_empty_buffer(r, e))
        return -1;
    if (record_head_length(r->buffer[r->start], &is_bin) && !is_bin) {
        int type = read_record(r, e);
        return type < 0 ? -1 : error_set(e, "broken stream: expected payload, found a record");
    }
    if (read_bin_or_integer_header(r, true, &found, e))
        return -1;
    return found == size
               ? 0
               : error_set(e, "broken stream: a block of tensor %s has %llu bytes instead of %zu",
                           current_tensor_name(r), (unsigned long long)found, size);
}

static int read_payload_bin(struct reader *r, void *to, size_t size, struct error *e)
{
    if (read_payload_bin_header(r, size, e))
        return -1;
    r->payload_offset = r->offset;
    ssize_t n = read_buffered_bytes_up_to(r, to, size, e);
    if (n < 0)
        return -1;
    if ((size_t)n < size)
        return report_truncated_stream(r, e);
    XXH3_64bits_update(r->checksum, to, size);
    r->payload_bytes += size;
    r->bins_left--;
    return 0;
}

int reader_read_payload(struct reader *r, void *to, size_t size, struct error *e)
{
    if (r->bins_left > 0 && read_payload_bin(r, to, size, e))
        return -1;
    return r->bins_left == 0 ? read_tensor_trailer(r, e) : 0;
}

/* ---- rewinding --------------------------------------------------------------------------- */

/* Copies the unread bytes of buffer and input to the file `to`. */
static int copy_rest_to_file(struct reader *r, int to, struct error *e)
{
    uint64_t copied = 0;
    for (;;) {
        while (r->start < r->filled) {
            ssize_t n = write(to, r->buffer + r->start, r->filled - r->start);
            if (n < 0 && errno != EINTR)
                return error_set(e, "cannot copy %s to a temporary file (%llu bytes so far): %s",
                                 r->what, (unsigned long long)copied, strerror(errno));
            r->start += n > 0 ? (size_t)n : 0;
            copied += n > 0 ? (uint64_t)n : 0;
        }
        ssize_t n = read_input(r, r->buffer, BUFFER, e);
        if (n <= 0)
            return (int)n;
        r->start = 0;
        r->filled = (size_t)n;
    }
}

int reader_make_rewindable(struct reader *r, const char *folder, bool *copied, struct error *e)
{
    off_t at = lseek(r->fd, 0, SEEK_CUR);
    *copied = !r->is_regular_file || at < 0 || r->decompressed;
    if (*copied) {
        int fd = spool_open_temporary_file(folder, e);
        if (fd < 0)
            return -1;
        if (copy_rest_to_file(r, fd, e)) {
            close(fd);
            return -1;
        }
        byte_input_close(r->decompressed);
        r->decompressed = NULL;
        r->fd = fd;
        r->owns_fd = true;
        r->start = r->filled = 0;
        r->first_tensor = 0;
    } else {
        r->first_tensor = at - (off_t)(r->filled - r->start);
    }
    XXH3_copyState(r->hash_before_first_tensor, r->hash);
    return reader_rewind(r, e);
}

int reader_rewind(struct reader *r, struct error *e)
{
    if (lseek(r->fd, r->first_tensor, SEEK_SET) < 0)
        return error_set(e, "cannot rewind %s: %s", r->what, strerror(errno));
    XXH3_copyState(r->hash, r->hash_before_first_tensor);
    r->start = r->filled = 0;
    r->tensors = r->bins_left = 0;
    r->payload_bytes = 0;
    r->ended = false;
    return 0;
}
