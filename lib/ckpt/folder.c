#include "folder.h"

#include "mapped_file.h"
#include "pattern.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum folder_kind folder_kind(const char *name)
{
    static const char *const weights[] = {".safetensors", ".bin", ".pt", ".pth"};
    static const char *const foreign[] = {".gguf", ".ggml",      ".h5", ".msgpack", ".onnx",
                                          ".ckpt", ".npz",       ".ot", ".tflite",  ".mlmodel",
                                          ".nemo", ".onnx_data", ".pkl"};
    if (pattern_ends(name, ".index.json"))
        return FOLDER_INDEX;
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        if (pattern_ends(name, weights[i]))
            return FOLDER_WEIGHTS;
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (pattern_ends(name, foreign[i]))
            return FOLDER_FOREIGN;
    return FOLDER_SMALL;
}

bool folder_is_bare(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

struct folder_file *folder_add(struct folder *f, const char *name, const char *title, uint64_t size)
{
    if (f->n == f->room) {
        f->room = f->room ? 2 * f->room : 32;
        f->files = mem_resize(f->files, f->room, sizeof *f->files);
    }
    struct folder_file *file = &f->files[f->n++];
    *file = (struct folder_file){.name = arena_text(&f->arena, name, strlen(name)),
                                 .title = arena_text(&f->arena, title, strlen(title)),
                                 .size = size};
    return file;
}

int folder_list(struct folder *f, const char *path, struct error *e)
{
    DIR *d = opendir(path);
    struct dirent *entry;
    if (!d)
        return error_set(e, "cannot read the folder %s: %s", path, strerror(errno));
    size_t n = strlen(path);
    const char *slash = n && path[n - 1] == '/' ? "" : "/";
    while ((entry = readdir(d))) {
        struct stat st;
        if (*entry->d_name == '.' || fstatat(dirfd(d), entry->d_name, &st, 0) < 0 ||
            !S_ISREG(st.st_mode))
            continue;
        char *title = arena_printf(&f->arena, "%s%s%s", path, slash, entry->d_name);
        folder_add(f, entry->d_name, title, (uint64_t)st.st_size);
    }
    closedir(d);
    folder_sort(f);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct folder_file *)a)->name, ((const struct folder_file *)b)->name);
}

void folder_sort(struct folder *f)
{
    if (f->n)
        qsort(f->files, f->n, sizeof *f->files, by_name);
}

struct folder_file *folder_find(const struct folder *f, const char *name)
{
    struct folder_file key = {.name = name};
    return f->n ? bsearch(&key, f->files, f->n, sizeof key, by_name) : NULL;
}

int folder_map_fd(struct folder_file *file, int fd, struct error *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(e, "cannot read %s: %s", file->title, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return error_set(e, "cannot read %s: it is not a regular file", file->title);
    file->size = (uint64_t)st.st_size;
    if (file->size == 0) {
        file->bytes = (const unsigned char *)"";
        return 0;
    }
    void *bytes = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return error_set(e, "cannot map %s: %s", file->title, strerror(errno));
    file->bytes = bytes;
    file->is_mapped = true;
    return 0;
}

int folder_map(struct folder_file *file, struct error *e)
{
    if (file->bytes)
        return 0;
    int fd = open(file->title, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(e, "cannot open %s: %s", file->title, strerror(errno));
    int failed = folder_map_fd(file, fd, e);
    close(fd);
    return failed;
}

void folder_release(const struct folder_file *file, const unsigned char *from, size_t size)
{
    if (file->is_mapped)
        mapped_file_release(file->bytes, file->size, from, size);
}

void folder_pass(const struct folder_file *file, const unsigned char *from, size_t size, bool last)
{
    if (file->is_mapped)
        mapped_file_pass(file->bytes, file->size, from, size, last);
}

void folder_free(struct folder *f)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->files[i].is_mapped)
            munmap((void *)f->files[i].bytes, f->files[i].size);
    free(f->files);
    arena_free(&f->arena);
    *f = (struct folder){0};
}
