#include "mapped_file.h"

#include "read_files.h"
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Copies the rest of `from`, decompressed, to a temporary file and returns its descriptor. Input
 * that does not begin with `magic` is copied only in part; its reader reports the error. */
static int copy_to_temporary_file(int from, const char *path, const char *folder, const char *magic,
                                  struct error *e)
{
    struct byte_input *in = byte_input_open(from, path, NULL, 0, e);
    int to = in ? spool_open_temporary_file(folder, e) : -1;
    if (to >= 0) {
        size_t n, length = magic ? strlen(magic) : 0;
        const unsigned char *first = byte_input_peek(in, &n);
        bool has_magic = n >= length && (!length || memcmp(first, magic, length) == 0);
        int failed = has_magic ? byte_input_copy_to_file(in, to, e) : write(to, first, n) < 0;
        if (failed) {
            close(to);
            to = -1;
        } else
            lseek(to, 0, SEEK_SET);
    }
    byte_input_close(in);
    return to;
}

static bool is_compressed_file(int fd)
{
    unsigned char bytes[8];
    ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    return n > 0 && byte_input_is_compressed(bytes, (size_t)n);
}

static int map_file_into_memory(struct mapped_file *m, const char *path, struct error *e)
{
    struct stat st;
    if (fstat(m->fd, &st) < 0)
        return error_set(e, "cannot read %s: %s", path, strerror(errno));
    read_files_add(&st);
    m->size = (size_t)st.st_size;
    if (m->size == 0)
        return 0;
    void *bytes = mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, m->fd, 0);
    if (bytes == MAP_FAILED)
        return error_set(e, "cannot map %s: %s", path, strerror(errno));
    m->bytes = bytes;
    return 0;
}

int mapped_file_open(struct mapped_file *m, const char *path, const char *folder, const char *magic,
                     struct error *e)
{
    bool is_stdin = strcmp(path, "-") == 0;
    struct stat st = {0};
    m->bytes = NULL;
    m->size = 0;
    m->is_path = false;
    m->fd = is_stdin ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    path = is_stdin ? "standard input" : path;
    if (m->fd < 0)
        return error_set(e, "cannot open %s: %s", path, strerror(errno));
    if (fstat(m->fd, &st) < 0 || S_ISDIR(st.st_mode)) {
        const char *reason = S_ISDIR(st.st_mode) ? "it is a folder" : strerror(errno);
        mapped_file_close(m);
        return error_set(e, "cannot read %s: %s", path, reason);
    }
    /* Standard input may be a file that has been partly read: only the rest is input. */
    bool is_regular = S_ISREG(st.st_mode) && lseek(m->fd, 0, SEEK_CUR) == 0;
    m->is_path = is_regular && !is_stdin;
    if (!is_regular || is_compressed_file(m->fd)) {
        read_files_add(&st);
        int fd = copy_to_temporary_file(m->fd, path, folder, magic, e);
        close(m->fd);
        m->fd = fd;
    }
    m->version = input_file_version(&st);
    if (m->fd >= 0 && map_file_into_memory(m, path, e) == 0)
        return 0;
    mapped_file_close(m);
    return -1;
}

int mapped_file_open_pipe(struct mapped_file *m, struct byte_input *in, const char *title,
                          const char *folder, struct error *e)
{
    *m = (struct mapped_file){.fd = spool_open_temporary_file(folder, e)};
    if (m->fd >= 0 && byte_input_copy_to_file(in, m->fd, e) == 0 &&
        lseek(m->fd, 0, SEEK_SET) == 0 && map_file_into_memory(m, title, e) == 0)
        return 0;
    mapped_file_close(m);
    return -1;
}

void mapped_file_set_random_access(const unsigned char *bytes, size_t size, bool is_random)
{
    madvise((void *)bytes, size, is_random ? MADV_RANDOM : MADV_NORMAL);
}

#define RELEASE_UNIT ((uintptr_t)2 << 20) /* the largest folio of the page cache */

void mapped_file_release_pages(const unsigned char *bytes, size_t size, const unsigned char *from,
                               size_t n)
{
    uintptr_t first = (uintptr_t)bytes, last = first + size;
    uintptr_t begin = (uintptr_t)from / RELEASE_UNIT * RELEASE_UNIT;
    uintptr_t end = ((uintptr_t)from + n + RELEASE_UNIT - 1) / RELEASE_UNIT * RELEASE_UNIT;
    begin = begin < first ? first : begin;
    end = end > last ? last : end;
    if (n > 0)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void mapped_file_release_pages_sequentially(const unsigned char *bytes, size_t size,
                                            const unsigned char *from, size_t n, bool last)
{
    size_t before = (size_t)(from - bytes);
    /* Another thread may have read the bytes before `from` after they were released. */
    before = before < RELEASE_UNIT ? before : RELEASE_UNIT;
    if (last || (uintptr_t)from / RELEASE_UNIT != (uintptr_t)(from + n) / RELEASE_UNIT)
        mapped_file_release_pages(bytes, size, from - before, before + n);
}

int mapped_file_check_unchanged(const struct mapped_file *m, const char *title, struct error *e)
{
    return m->is_path ? input_file_check_unchanged_fd(m->fd, title, &m->version, e) : 0;
}

const char *mapped_file_write_error(int error_number)
{
    return error_number == EFAULT ? "a file was truncated while it was being read"
                                  : strerror(error_number);
}

void mapped_file_close(struct mapped_file *m)
{
    if (m->bytes)
        munmap((void *)m->bytes, m->size);
    if (m->fd >= 0)
        close(m->fd);
    *m = (struct mapped_file){.fd = -1};
}
