/* Files that are in memory. The Makefile puts these functions in the place of the library's, so
 * that an input costs no system calls, and reading past its end is detected: its copy ends where
 * its allocation ends. */
#include "fuzz.h"
#include "fs.h"
#include "mapped_file.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

/* The files that exist, besides those of the file system. The bytes are the caller's. */
static struct file {
    const char *path;
    const void *bytes;
    size_t size;
    int fd; /* a file with the same bytes; -1: there is none */
} files[2];

const char *fuzz_file(int slot, const char *path, const void *bytes, size_t size)
{
    files[slot] = (struct file){path, bytes, size, -1};
    return path;
}

const char *fuzz_file_with_descriptor(int slot, const char *path, const void *bytes, size_t size)
{
    files[slot] = (struct file){path, bytes, size, fuzz_descriptor(bytes, size)};
    return path;
}

void fuzz_remove_files(void)
{
    memset(files, 0, sizeof files);
}

static const struct file *find_file(const char *path)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (files[i].path && strcmp(files[i].path, path) == 0)
            return &files[i];
    return NULL;
}

/* The library remembers all models that the process has opened. */
void __wrap_read_files_add(const struct stat *st);
void __wrap_read_files_add(const struct stat *st)
{
}

int __real_input_file_exists(const char *path, struct error *e);
int __wrap_input_file_exists(const char *path, struct error *e);
int __wrap_input_file_exists(const char *path, struct error *e)
{
    return find_file(path) ? 1 : __real_input_file_exists(path, e);
}

/* ---- mapped files ---------------------------------------------------------------------------- */

int __wrap_mapped_file_open(struct mapped_file *m, const char *path, const char *folder,
                            const char *magic, struct error *e);
int __wrap_mapped_file_open(struct mapped_file *m, const char *path, const char *folder,
                            const char *magic, struct error *e)
{
    const struct file *f = find_file(path);
    *m = (struct mapped_file){.fd = -1};
    if (!f)
        return error_set(e, "there is no such file");
    *m = (struct mapped_file){
        .bytes = f->size ? fuzz_copy(f->bytes, f->size) : NULL, .size = f->size, .fd = f->fd};
    return 0;
}

void __wrap_mapped_file_close(struct mapped_file *m);
void __wrap_mapped_file_close(struct mapped_file *m)
{
    free((void *)m->bytes);
    *m = (struct mapped_file){.fd = -1};
}

void __wrap_mapped_file_release_pages(const unsigned char *bytes, size_t size,
                                      const unsigned char *from, size_t n);
void __wrap_mapped_file_release_pages(const unsigned char *bytes, size_t size,
                                      const unsigned char *from, size_t n)
{
}

/* The ranges above are memory of the heap, which must not be dropped. */
void __wrap_mapped_file_release_pages_sequentially(const unsigned char *bytes, size_t size,
                                                   const unsigned char *from, size_t n, bool last);
void __wrap_mapped_file_release_pages_sequentially(const unsigned char *bytes, size_t size,
                                                   const unsigned char *from, size_t n, bool last)
{
}

/* ---- streams of stdio ------------------------------------------------------------------------ */

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode)
{
    const struct file *f = find_file(path);
    return f ? fmemopen((void *)f->bytes, f->size, "r") : __real_fopen(path, mode);
}

/* For a stream in memory an empty file, so that asking for its state works. */
int __real_fileno(FILE *f);
int __wrap_fileno(FILE *f);
int __wrap_fileno(FILE *f)
{
    static int empty = -1;
    int fd = __real_fileno(f);
    if (fd < 0 && empty < 0)
        empty = memfd_create("empty", MFD_CLOEXEC);
    return fd < 0 ? empty : fd;
}

/* ---- records and work files, whatever their folder --------------------------------------------
 */

char *__wrap_fs_read_file(int folder, const char *name, size_t *size);
char *__wrap_fs_read_file(int folder, const char *name, size_t *size)
{
    const struct file *f = find_file(name);
    if (!f) {
        errno = ENOENT;
        return NULL;
    }
    *size = f->size;
    return fuzz_text(f->bytes, f->size);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

int fuzz_descriptor(const void *bytes, size_t size)
{
    static int fd = -1;
    static uint8_t *mapped;
    static size_t capacity, last;
    if (fd < 0)
        fd = memfd_create("input", MFD_CLOEXEC);
    if (size > capacity) {
        capacity = size + (1 << 20);
        mapped = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (fd < 0 || mapped == MAP_FAILED || (size != last && ftruncate(fd, (off_t)size)) ||
        lseek(fd, 0, SEEK_SET))
        abort();
    last = size;
    if (size)
        memcpy(mapped, bytes, size);
    return fd;
}

const char *fuzz_descriptor_path(const void *bytes, size_t size)
{
    static char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fuzz_descriptor(bytes, size));
    return path;
}
