#include "model_files.h"

#include "foreign_format.h"
#include "glob_pattern.h"
#include "mapped_file.h"
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
    static const char *const weights[] = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".npz"};
    static const char *const unsupported[] = {".ggml", ".ckpt", ".ot", ".nemo", ".pkl"};
    if (glob_pattern_text_ends_with(name, ".index.json"))
        return MODEL_FILE_INDEX;
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        if (glob_pattern_text_ends_with(name, weights[i]))
            return MODEL_FILE_WEIGHTS;
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (glob_pattern_text_ends_with(name, unsupported[i]))
            return MODEL_FILE_UNSUPPORTED;
    if (foreign_format_of_name(name))
        return MODEL_FILE_UNSUPPORTED;
    return MODEL_FILE_AUXILIARY;
}

bool model_files_is_default_weights_name(const char *name)
{
    static const char *const names[] = {"model.safetensors", "pytorch_model.bin",
                                        "diffusion_pytorch_model.safetensors",
                                        "diffusion_pytorch_model.bin"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
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

/* Adds a name to those that are omitted, unless it was the last one added. */
static void add_omitted_name(struct model_files *f, const char *name)
{
    if (f->n_omitted && strcmp(f->omitted[f->n_omitted - 1], name) == 0)
        return;
    if (f->n_omitted == f->omitted_capacity) {
        f->omitted_capacity = f->omitted_capacity ? 2 * f->omitted_capacity : 8;
        f->omitted = mem_resize(f->omitted, f->omitted_capacity, sizeof *f->omitted);
    }
    f->omitted[f->n_omitted++] = arena_copy_text(&f->arena, name);
}

/* Adds a file of the folder, which is open as `d`; `title` is its path. */
static void add_entry(struct model_files *f, DIR *d, const char *name, const char *title)
{
    struct stat st, link;
    bool found = fstatat(dirfd(d), name, &st, 0) == 0;
    int reason = found ? 0 : errno;
    if (!found && fstatat(dirfd(d), name, &link, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
        return; /* removed since it was listed */
    if (*name == '.' || (found && S_ISDIR(st.st_mode))) {
        add_omitted_name(f, *name == '.' ? name : arena_printf(&f->arena, "%s/", name));
        return;
    }
    struct model_file *file = model_files_add(f, name, title, found ? (uint64_t)st.st_size : 0);
    file->is_path = true;
    if (found)
        file->version = input_file_version(&st);
    if (reason == ENOENT)
        file->unreadable = "it is a link to a missing file";
    else if (reason)
        file->unreadable = arena_copy_text(&f->arena, strerror(reason));
    else if (!S_ISREG(st.st_mode))
        file->unreadable = "not a regular file";
}

static int add_entries(struct model_files *f, DIR *d, const char *path, struct error *e)
{
    size_t n = strlen(path);
    const char *slash = n && path[n - 1] == '/' ? "" : "/";
    struct dirent *entry;
    while (errno = 0, (entry = readdir(d))) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
            add_entry(f, d, name, arena_printf(&f->arena, "%s%s%s", path, slash, name));
    }
    return errno ? error_set(e, "cannot read the folder %s: %s", path, strerror(errno)) : 0;
}

int model_files_add_folder(struct model_files *f, const char *path, struct error *e)
{
    DIR *d = opendir(path);
    if (!d)
        return error_set(e, "cannot read the folder %s: %s", path, strerror(errno));
    int failed = add_entries(f, d, path, e);
    closedir(d);
    model_files_sort(f);
    return failed;
}

static int compare_file_names(const void *a, const void *b)
{
    return strcmp(((const struct model_file *)a)->name, ((const struct model_file *)b)->name);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void model_files_sort(struct model_files *f)
{
    if (f->n)
        qsort(f->files, f->n, sizeof *f->files, compare_file_names);
    if (f->n_omitted)
        qsort(f->omitted, f->n_omitted, sizeof *f->omitted, compare_texts);
}

const char *model_files_download_hint(const struct model_files *f)
{
    return f->download_hint ? f->download_hint : "";
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
    free(f->omitted);
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
    if (!file->version.inode)
        file->version = input_file_version(&st);
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

/* Opens a file whose title is its path; -1 on error. The caller closes. */
static int open_file(struct model_file *file, struct error *e)
{
    if (file->unreadable)
        return error_set(e, "cannot read %s: %s", file->title, file->unreadable);
    int fd = open(file->title, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(e, "cannot open %s: %s", file->title, strerror(errno));
    file->is_path = true;
    return fd;
}

int model_files_map_file(struct model_file *file, struct error *e)
{
    if (file->bytes)
        return 0;
    int fd = open_file(file, e);
    if (fd < 0)
        return -1;
    int failed = model_files_map_fd(file, fd, e) ||
                         input_file_check_unchanged_fd(fd, file->title, &file->version, e)
                     ? -1
                     : 0;
    close(fd);
    return failed;
}

/* Reads the open file `fd`; an error if it has changed since it was listed. */
static int read_open_file(const struct model_file *file, int fd, char *text, struct error *e)
{
    for (size_t done = 0; done < file->size;) {
        ssize_t n = pread(fd, text + done, file->size - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(e, "cannot read %s: %s", file->title, strerror(errno));
        if (n == 0)
            break; /* it is shorter than before */
        done += (size_t)n;
    }
    return input_file_check_unchanged_fd(fd, file->title, &file->version, e);
}

char *model_files_read(struct model_file *file, struct error *e)
{
    if (file->size > MODEL_FILES_MAX_AUXILIARY) {
        error_set(e, "%s is larger than 256 MiB, the maximum for an auxiliary file", file->title);
        return NULL;
    }
    int fd = file->bytes ? -1 : open_file(file, e);
    if (fd < 0 && !file->bytes)
        return NULL;
    char *text = mem_alloc(file->size + 1, 1);
    if (file->bytes)
        memcpy(text, file->bytes, file->size);
    else if (read_open_file(file, fd, text, e) < 0) {
        free(text);
        text = NULL;
    }
    if (fd >= 0)
        close(fd);
    return text;
}

int model_files_check_unchanged(const struct model_files *f, struct error *e)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct model_file *file = &f->files[i];
        if (file->is_path && file->bytes &&
            input_file_check_unchanged(file->title, file->title, &file->version, e))
            return -1;
    }
    return 0;
}

void model_files_set_random_access(const struct model_file *file, bool is_random)
{
    if (file->is_mapped)
        mapped_file_set_random_access(file->bytes, file->size, is_random);
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
