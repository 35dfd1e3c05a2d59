#include "byte_input.h"

#include "fs.h"
#include "mem.h"
#include "pipe_capacity.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE ((size_t)1 << 17) /* bytes read at a time where the reader asks for none */

struct byte_input {
    int fd;
    char *what;
    struct archive *archive; /* decompresses; NULL: the bytes are not compressed */
    unsigned char *raw;      /* the first bytes of the descriptor, until they are used */
    size_t raw_start, raw_filled;
    unsigned char first[BYTE_INPUT_PEEK]; /* the first bytes, decompressed */
    size_t first_start, first_filled;
    unsigned char *piece; /* (PIECE) of compressed bytes, for libarchive */
    int read_errno;       /* why reading the descriptor failed inside libarchive; 0: it did not */
};

bool byte_input_is_compressed(const unsigned char *bytes, size_t n)
{
    static const char xz[] = {'\xfd', '7', 'z', 'X', 'Z', '\0'};
    return (n >= 2 && memcmp(bytes, "\x1f\x8b", 2) == 0) ||
           (n >= 4 && memcmp(bytes, "\x28\xb5\x2f\xfd", 4) == 0) ||
           (n >= sizeof xz && memcmp(bytes, xz, sizeof xz) == 0);
}

/* ---- the descriptor -------------------------------------------------------------------------- */

/* Reads from the descriptor, first the bytes that were looked at; -1 with the reason in errno. */
static ssize_t read_raw(struct byte_input *in, void *to, size_t size)
{
    size_t ready = in->raw_filled - in->raw_start;
    if (ready) {
        size_t n = ready < size ? ready : size;
        memcpy(to, in->raw + in->raw_start, n);
        in->raw_start += n;
        return (ssize_t)n;
    }
    ssize_t n;
    do
        n = read(in->fd, to, size);
    while (n < 0 && errno == EINTR);
    return n;
}

static int fill_raw(struct byte_input *in, struct error *e)
{
    while (in->raw_filled < BYTE_INPUT_PEEK) {
        ssize_t n = read(in->fd, in->raw + in->raw_filled, BYTE_INPUT_PEEK - in->raw_filled);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(e, "cannot read %s: %s", in->what, strerror(errno));
        if (n == 0)
            break;
        in->raw_filled += (size_t)n;
    }
    return 0;
}

/* ---- decompression --------------------------------------------------------------------------- */

/* An archive_read_callback. */
static la_ssize_t read_compressed(struct archive *a, void *input, const void **bytes)
{
    struct byte_input *in = input;
    *bytes = in->piece;
    ssize_t n = read_raw(in, in->piece, PIECE);
    if (n >= 0)
        return n;
    in->read_errno = errno;
    archive_set_error(a, errno, "%s", strerror(errno));
    return ARCHIVE_FATAL;
}

static int set_decompression_error(const struct byte_input *in, struct error *e)
{
    const char *why = archive_error_string(in->archive);
    if (in->read_errno)
        return error_set(e, "cannot read %s: %s", in->what, strerror(in->read_errno));
    return error_set(e, "cannot decompress %s: %s", in->what, why ? why : "unknown error");
}

static int open_archive(struct byte_input *in, struct error *e)
{
    static int (*const choices[])(struct archive *) = {
        archive_read_support_filter_gzip, archive_read_support_filter_zstd,
        archive_read_support_filter_xz, archive_read_support_format_raw,
        archive_read_support_format_empty};
    struct archive_entry *entry;
    in->archive = mem_check(archive_read_new());
    in->piece = mem_alloc(PIECE, 1);
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++)
        if (choices[i](in->archive) < ARCHIVE_WARN)
            return set_decompression_error(in, e);
    if (archive_read_open(in->archive, in, NULL, read_compressed, NULL) != ARCHIVE_OK)
        return set_decompression_error(in, e);
    int status = archive_read_next_header(in->archive, &entry);
    return status == ARCHIVE_OK || status == ARCHIVE_WARN || status == ARCHIVE_EOF
               ? 0
               : set_decompression_error(in, e);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

ssize_t byte_input_read(struct byte_input *in, void *to, size_t size, struct error *e)
{
    size_t ready = in->first_filled - in->first_start;
    if (ready) {
        size_t n = ready < size ? ready : size;
        memcpy(to, in->first + in->first_start, n);
        in->first_start += n;
        return (ssize_t)n;
    }
    if (!in->archive) {
        ssize_t n = read_raw(in, to, size);
        return n < 0 ? error_set(e, "cannot read %s: %s", in->what, strerror(errno)) : n;
    }
    la_ssize_t n;
    do
        n = archive_read_data(in->archive, to, size);
    while (n == ARCHIVE_RETRY);
    return n < 0 ? set_decompression_error(in, e) : (ssize_t)n;
}

long long byte_input_read_fully(struct byte_input *in, void *to, unsigned long long size,
                                struct error *e)
{
    unsigned char dropped[1 << 14];
    unsigned long long done = 0;
    while (done < size) {
        size_t wanted = size - done < SSIZE_MAX ? (size_t)(size - done) : SSIZE_MAX;
        if (!to && wanted > sizeof dropped)
            wanted = sizeof dropped;
        ssize_t n = byte_input_read(in, to ? (char *)to + done : (char *)dropped, wanted, e);
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (long long)done;
}

int byte_input_copy_to_file(struct byte_input *in, int fd, struct error *e)
{
    unsigned char *bytes = mem_alloc(PIECE, 1);
    uint64_t offset = 0;
    ssize_t n;
    while ((n = byte_input_read(in, bytes, PIECE, e)) > 0) {
        if (fs_write_at(fd, offset, bytes, (size_t)n)) {
            n = error_set(e, "cannot copy %s to a temporary file: %s", in->what, strerror(errno));
            break;
        }
        if (!fs_has_room(fd, &offset, (size_t)n)) {
            n = error_set(
                e,
                "%s does not fit into the temporary folder, which is full after %llu bytes "
                "(--spool chooses another)",
                in->what, (unsigned long long)offset);
            break;
        }
    }
    free(bytes);
    return n < 0 ? -1 : 0;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int look_at_first_bytes(struct byte_input *in, struct error *e)
{
    if (fill_raw(in, e))
        return -1;
    if (byte_input_is_compressed(in->raw, in->raw_filled) && open_archive(in, e))
        return -1;
    unsigned char first[BYTE_INPUT_PEEK];
    long long n = byte_input_read_fully(in, first, sizeof first, e);
    if (n < 0)
        return -1;
    memcpy(in->first, first, (size_t)n);
    in->first_filled = (size_t)n;
    return 0;
}

struct byte_input *byte_input_open(int fd, const char *what, const void *before, size_t n,
                                   struct error *e)
{
    struct byte_input *in = mem_alloc(1, sizeof *in);
    in->fd = fd;
    in->what = mem_copy_text(what);
    pipe_capacity_enlarge(fd);
    in->raw = mem_alloc(n > BYTE_INPUT_PEEK ? n : BYTE_INPUT_PEEK, 1);
    if (n)
        memcpy(in->raw, before, n);
    in->raw_filled = n;
    if (look_at_first_bytes(in, e) == 0)
        return in;
    byte_input_close(in);
    return NULL;
}

void byte_input_close(struct byte_input *in)
{
    if (!in)
        return;
    if (in->archive)
        archive_read_free(in->archive);
    free(in->raw);
    free(in->piece);
    free(in->what);
    free(in);
}

const unsigned char *byte_input_peek(const struct byte_input *in, size_t *n)
{
    *n = in->first_filled;
    return in->first;
}
