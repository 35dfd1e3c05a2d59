#include "npz_decompress.h"

#include "fs.h"
#include "zip.h"

#include <archive.h>
#include <archive_entry.h>

bool npz_decompress_is_needed(const char *file, const unsigned char *bytes, size_t size)
{
    struct zip z;
    struct error ignored;
    bool found = false;
    if (zip_open(&z, file, bytes, size, &ignored))
        return false;
    for (size_t i = 0; i < z.n; i++)
        found |= z.entries[i].method != 0;
    zip_free(&z);
    return found;
}

/* A file whose records are copied, decompressed, to the open file `fd`. */
struct decompression {
    struct archive *from, *to;
    const char *file;
    int fd;
    uint64_t bytes; /* copied so far */
};

static int set_archive_error(struct archive *a, const char *file, struct error *e)
{
    const char *why = archive_error_string(a);
    return error_set(e, "cannot decompress %s: %s", file, why ? why : "unknown error");
}

static int check_disk(struct decompression *d, size_t size, struct error *e)
{
    if (fs_has_room(d->fd, &d->bytes, size))
        return 0;
    return error_set(e,
                     "%s decompresses to more than the temporary folder holds: it is full after "
                     "%llu bytes (--spool chooses another)",
                     d->file, (unsigned long long)d->bytes);
}

/* Copies the contents of the current record. Its size is known, or it is found on the way. */
static int copy_contents(struct decompression *d, struct error *e)
{
    char bytes[1 << 14];
    la_ssize_t n;
    while ((n = archive_read_data(d->from, bytes, sizeof bytes)) > 0)
        if (check_disk(d, (size_t)n, e))
            return -1;
        else if (archive_write_data(d->to, bytes, (size_t)n) != n)
            return set_archive_error(d->to, d->file, e);
    return n < 0 ? set_archive_error(d->from, d->file, e) : 0;
}

/* libarchive crashes when it writes an entry whose name it could not read. */
static int copy_record(struct decompression *d, struct archive_entry *entry, struct error *e)
{
    if (!archive_entry_pathname(entry))
        return error_set(e, "cannot decompress %s: the name of an array is not valid UTF-8",
                         d->file);
    if (archive_write_header(d->to, entry) < ARCHIVE_WARN)
        return set_archive_error(d->to, d->file, e);
    return copy_contents(d, e);
}

static int copy_records(struct decompression *d, struct error *e)
{
    struct archive_entry *entry;
    int status;
    while ((status = archive_read_next_header(d->from, &entry)) == ARCHIVE_OK ||
           status == ARCHIVE_WARN)
        if (copy_record(d, entry, e))
            return -1;
    if (status != ARCHIVE_EOF)
        return set_archive_error(d->from, d->file, e);
    return archive_write_close(d->to) == ARCHIVE_OK ? 0 : set_archive_error(d->to, d->file, e);
}

int npz_decompress_records(const char *file, const unsigned char *bytes, size_t size, int fd,
                           struct error *e)
{
    struct decompression d = {.from = mem_check(archive_read_new()),
                              .to = mem_check(archive_write_new()),
                              .file = file,
                              .fd = fd};
    int failed = archive_read_support_format_zip(d.from) == ARCHIVE_OK &&
                         archive_write_set_format_zip(d.to) == ARCHIVE_OK &&
                         archive_write_zip_set_compression_store(d.to) == ARCHIVE_OK &&
                         archive_write_open_fd(d.to, fd) == ARCHIVE_OK &&
                         archive_read_open_memory(d.from, bytes, size) == ARCHIVE_OK
                     ? copy_records(&d, e)
                     : set_archive_error(d.from, file, e);
    archive_read_free(d.from);
    archive_write_close(d.to); /* after a failed write archive_write_free would lose its buffer */
    archive_write_free(d.to);
    return failed;
}
