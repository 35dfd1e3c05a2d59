#include "model_files.h"

#include "mapped_file.h"
#include "glob_pattern.h"
#include "read_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- names ----------------------------------------------------------------------------------- */

enum model_file_kind model_files_kind_of(const char *name)
{
    static const char *const weights[] = {".safetensors", ".bin", ".pt", ".pth"};
    static const char *const unsupported[] = {".gguf", ".ggml",      ".h5", ".msgpack", ".onnx",
                                              ".ckpt", ".npz",       ".ot", ".tflite",  ".mlmodel",
                                              ".nemo", ".onnx_data", ".pkl"};
    if (glob_pattern_text_ends_with(name, ".index.json"))
        return MODEL_FILE_INDEX;
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        if (glob_pattern_text_ends_with(name, weights[i]))
            return MODEL_FILE_WEIGHTS;
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (glob_pattern_text_ends_with(name, unsupported[i]))
            return MODEL_FILE_UNSUPPORTED;
    return MODEL_FILE_AUXILIARY;
}

bool model_files_is_default_weights_name(const char *name)
{
    return strcmp(name, "model.safetensors") == 0 || strcmp(name, "pytorch_model.bin") == 0;
}

bool model_files_is_bare_name(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* ---- the list -------------------------------------------------------------------------------- */

struct model_file *model_files_add(struct model_files *f, const char *name, const char *title,
                                   uint64_t size)
{
    if (f->n == f->capacity) {
        f->capacity = f->capacity ? 2 * f->capacity : 32;
        f->files = mem_resize(f->files, f->capacity, sizeof *f->files);
    }
    struct model_file *file = &f->files[f->n++];
    *file = (struct model_file){.name = arena_copy_text(&f->arena, name),
                                .title = arena_copy_text(&f->arena, title),
                                .size = size};
    return file;
}

int model_files_add_folder(struct model_files *f, const char *path, struct error *e)
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
        model_files_add(f, entry->d_name, title, (uint64_t)st.st_size);
    }
    closedir(d);
    model_files_sort(f);
    return 0;
}

static int compare_file_names(const void *a, const void *b)
{
    return strcmp(((const struct model_file *)a)->name, ((const struct model_file *)b)->name);
}

void model_files_sort(struct model_files *f)
{
    if (f->n)
        qsort(f->files, f->n, sizeof *f->files, compare_file_names);
}

struct model_file *model_files_find(const struct model_files *f, const char *name)
{
    struct model_file key = {.name = name};
    return f->n ? bsearch(&key, f->files, f->n, sizeof key, compare_file_names) : NULL;
}

void model_files_free(struct model_files *f)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->files[i].is_mapped)
            munmap((void *)f->files[i].bytes, f->files[i].size);
    free(f->files);
    arena_free(&f->arena);
    *f = (struct model_files){0};
}

/* ---- contents -------------------------------------------------------------------------------- */

int model_files_map_fd(struct model_file *file, int fd, struct error *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(e, "cannot read %s: %s", file->title, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return error_set(e, "cannot read %s: not a regular file", file->title);
    read_files_add(&st);
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

int model_files_map_file(struct model_file *file, struct error *e)
{
    if (file->bytes)
        return 0;
    int fd = open(file->title, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(e, "cannot open %s: %s", file->title, strerror(errno));
    int failed = model_files_map_fd(file, fd, e);
    close(fd);
    return failed;
}

void model_files_release_pages(const struct model_file *file, const unsigned char *from,
                               size_t size)
{
    if (file->is_mapped)
        mapped_file_release_pages(file->bytes, file->size, from, size);
}

void model_files_release_pages_sequentially(const struct model_file *file,
                                            const unsigned char *from, size_t size, bool last)
{
    if (file->is_mapped)
        mapped_file_release_pages_sequentially(file->bytes, file->size, from, size, last);
}
