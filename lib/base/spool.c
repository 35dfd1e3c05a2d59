#include "spool.h"

#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct spool {
    size_t memory;
    char *folder;         /* NULL: the default */
    unsigned char *bytes; /* used if size <= memory */
    size_t capacity;      /* of `bytes` */
    int fd;               /* -1: no file yet */
    uint64_t size;
};

const char *spool_folder_or_default(const char *folder)
{
    const char *temporary = getenv("TMPDIR");
    if (folder)
        return folder;
    return temporary && *temporary ? temporary : "/var/tmp";
}

/* ---- the file ------------------------------------------------------------------------------- */

/* For file systems without O_TMPFILE. */
static int create_unlinked_temporary_file(const char *folder, struct error *e)
{
    char *name = mem_printf("%s/tvtools-XXXXXX", folder);
    int fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0)
        error_set(e, "cannot create a temporary file in %s: %s", folder, strerror(errno));
    else
        unlink(name);
    free(name);
    return fd;
}

int spool_open_temporary_file(const char *folder, struct error *e)
{
    folder = spool_folder_or_default(folder);
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return fd >= 0 ? fd : create_unlinked_temporary_file(folder, e);
}

int spool_check_disk_space(const char *folder, uint64_t size, struct error *e)
{
    struct statvfs disk;
    uint64_t space;
    folder = spool_folder_or_default(folder);
    if (statvfs(folder, &disk) < 0)
        return error_set(e, "cannot use a temporary file in %s: %s", folder, strerror(errno));
    if (__builtin_mul_overflow((uint64_t)disk.f_bavail, (uint64_t)disk.f_frsize, &space))
        space = UINT64_MAX;
    if (size > space || size > INT64_MAX)
        return error_set(e,
                         "a temporary file needs %" PRIu64 " MiB, but %s has %" PRIu64
                         " MiB free (choose another folder with --spool)",
                         (size + (1 << 20) - 1) >> 20, folder, space >> 20);
    return 0;
}

/* Empties the file and checks that the disk has space for `size` bytes. */
static int empty_file_and_check_disk_space(struct spool *s, uint64_t size, struct error *e)
{
    if (s->fd < 0 && (s->fd = spool_open_temporary_file(s->folder, e)) < 0)
        return -1;
    if (ftruncate(s->fd, 0) < 0)
        return error_set(e, "cannot use a temporary file in %s: %s",
                         spool_folder_or_default(s->folder), strerror(errno));
    return spool_check_disk_space(s->folder, size, e);
}

/* ---- a spool -------------------------------------------------------------------------------- */

struct spool *spool_new(size_t memory, const char *folder)
{
    struct spool *s = mem_alloc(1, sizeof *s);
    s->memory = memory;
    s->folder = folder ? mem_copy_text(folder) : NULL;
    s->fd = -1;
    return s;
}

void spool_free(struct spool *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        close(s->fd);
    free(s->bytes);
    free(s->folder);
    free(s);
}

static int is_in_memory(const struct spool *s)
{
    return s->size <= s->memory;
}

int spool_reserve(struct spool *s, uint64_t size, struct error *e)
{
    s->size = 0;
    if (size > s->memory && empty_file_and_check_disk_space(s, size, e))
        return -1;
    if (size <= s->memory && (!s->bytes || size > s->capacity)) {
        free(s->bytes);
        s->bytes = mem_alloc_aligned(size);
        s->capacity = size;
    }
    s->size = size;
    return 0;
}

static int check_byte_range(const struct spool *s, uint64_t offset, size_t size, struct error *e)
{
    if (offset > s->size || size > s->size - offset)
        return error_set(e, "bytes %" PRIu64 " to %" PRIu64 " of a spool of %" PRIu64 " bytes",
                         offset, offset + size, s->size);
    return 0;
}

void *spool_memory_at(struct spool *s, uint64_t offset, size_t size)
{
    if (!s->bytes || !is_in_memory(s) || offset > s->size || size > s->size - offset)
        return NULL;
    return s->bytes + offset;
}

int spool_write_at(struct spool *s, uint64_t offset, const void *bytes, size_t size,
                   struct error *e)
{
    if (check_byte_range(s, offset, size, e))
        return -1;
    if (is_in_memory(s) && size)
        memcpy(s->bytes + offset, bytes, size);
    for (size_t done = 0; !is_in_memory(s) && done < size;) {
        ssize_t n = pwrite(s->fd, (const char *)bytes + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(e, "cannot write to a temporary file in %s: %s",
                             spool_folder_or_default(s->folder), strerror(n < 0 ? errno : ENOSPC));
        done += (size_t)n;
    }
    return 0;
}

int spool_read_at(const struct spool *s, uint64_t offset, void *bytes, size_t size, struct error *e)
{
    if (check_byte_range(s, offset, size, e))
        return -1;
    if (is_in_memory(s) && size)
        memcpy(bytes, s->bytes + offset, size);
    for (size_t done = 0; !is_in_memory(s) && done < size;) {
        ssize_t n = pread(s->fd, (char *)bytes + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(e, "cannot read from a temporary file in %s: %s",
                             spool_folder_or_default(s->folder),
                             n < 0 ? strerror(errno) : "unexpected end of file");
        done += (size_t)n;
    }
    return 0;
}
