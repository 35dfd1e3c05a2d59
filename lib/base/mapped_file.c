#include "mapped_file.h"

#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(int fd, const unsigned char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0 && errno != EINTR)
            return -1;
        bytes += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* Everything that `from` still gives, as a file; of what does not begin as it should, the
 * beginning: whoever reads it says what is wrong. */
static int copy(int from, const char *path, const char *folder, const char *begins, struct error *e)
{
    unsigned char bytes[1 << 16];
    size_t left = begins ? strlen(begins) : 0; /* of what it should begin with */
    bool as_expected = true;
    ssize_t n;
    int to = spool_open_temporary_file(folder, e);
    while (to >= 0 && as_expected && (n = read(from, bytes, sizeof bytes)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || write_all(to, bytes, (size_t)n)) {
            error_set(e, "cannot copy %s to a temporary file: %s", path, strerror(errno));
            close(to);
            return -1;
        }
        size_t m = (size_t)n < left ? (size_t)n : left;
        as_expected = m == 0 || memcmp(bytes, begins, m) == 0;
        begins = m ? begins + m : begins;
        left -= m;
    }
    if (to >= 0)
        lseek(to, 0, SEEK_SET);
    return to;
}

static int map(struct mapped_file *m, const char *path, struct error *e)
{
    struct stat st;
    if (fstat(m->fd, &st) < 0)
        return error_set(e, "cannot read %s: %s", path, strerror(errno));
    m->size = (size_t)st.st_size;
    if (m->size == 0)
        return 0;
    void *bytes = mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, m->fd, 0);
    if (bytes == MAP_FAILED)
        return error_set(e, "cannot map %s: %s", path, strerror(errno));
    m->bytes = bytes;
    return 0;
}

int mapped_file_open(struct mapped_file *m, const char *path, const char *folder,
                     const char *begins, struct error *e)
{
    bool standard = strcmp(path, "-") == 0;
    struct stat st;
    *m =
        (struct mapped_file){.fd = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC)};
    path = standard ? "standard input" : path;
    if (m->fd < 0)
        return error_set(e, "cannot open %s: %s", path, strerror(errno));
    if (fstat(m->fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        mapped_file_close(m);
        return error_set(e, "cannot read %s: it is a folder", path);
    }
    /* Standard input may be a file that was read in part: the rest counts, as in a pipe. */
    if (!S_ISREG(st.st_mode) || lseek(m->fd, 0, SEEK_CUR) != 0) {
        int fd = copy(m->fd, path, folder, begins, e);
        close(m->fd);
        m->fd = fd;
    }
    if (m->fd >= 0 && map(m, path, e) == 0)
        return 0;
    mapped_file_close(m);
    return -1;
}

#define AROUND ((uintptr_t)2 << 20) /* the largest folio of the page cache */

void mapped_file_release_pages(const unsigned char *bytes, size_t size, const unsigned char *from,
                               size_t n)
{
    uintptr_t first = (uintptr_t)bytes, last = first + size;
    uintptr_t begin = (uintptr_t)from / AROUND * AROUND;
    uintptr_t end = ((uintptr_t)from + n + AROUND - 1) / AROUND * AROUND;
    begin = begin < first ? first : begin;
    end = end > last ? last : end;
    if (n > 0)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void mapped_file_release_sequential(const unsigned char *bytes, size_t size,
                                    const unsigned char *from, size_t n, bool last)
{
    size_t before = (size_t)(from - bytes);
    before = before < AROUND ? before : AROUND; /* where another thread may have come later */
    if (last || (uintptr_t)from / AROUND != (uintptr_t)(from + n) / AROUND)
        mapped_file_release_pages(bytes, size, from - before, before + n);
}

void mapped_file_close(struct mapped_file *m)
{
    if (m->bytes)
        munmap((void *)m->bytes, m->size);
    if (m->fd >= 0)
        close(m->fd);
    *m = (struct mapped_file){.fd = -1};
}
