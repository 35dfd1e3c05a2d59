#include "model_input.h"

#include "notes.h"
#include "npz.h"
#include "npz_decompress.h"
#include "spool.h"
#include "torch_file.h"
#include "unarchive.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- recognition ----------------------------------------------------------------------------- */

int model_input_detect(int fd, const char *path, enum file_format *format, bool *is_compressed,
                       struct error *e)
{
    if (file_format_detect_fd(fd, format) < 0)
        return error_set(e, "cannot open %s: %s", path, strerror(errno));
    *is_compressed = *format == FILE_FORMAT_COMPRESSED;
    if (!*is_compressed)
        return 0;
    struct error ignored; /* the reader of archives reports it */
    struct byte_input *in = byte_input_open(fd, path, NULL, 0, &ignored);
    *format = FILE_FORMAT_ARCHIVE;
    if (in) {
        size_t n;
        const unsigned char *bytes = byte_input_peek(in, &n);
        *format = file_format_detect(bytes, n);
    }
    byte_input_close(in);
    return 0;
}

int model_input_is_weight_zip(struct model_file *file, struct error *e)
{
    if (model_files_map_file(file, e) < 0)
        return -1;
    return npz_recognize(file->title, file->bytes, file->size)
               ? 1
               : torch_file_recognize(file->title, file->bytes, file->size, e);
}

int model_input_decompress_npz(struct model_file *file, const char *spool, FILE *notes,
                               struct error *e)
{
    if (file_format_detect(file->bytes, file->size) != FILE_FORMAT_ZIP ||
        !npz_recognize(file->title, file->bytes, file->size) ||
        !npz_decompress_is_needed(file->title, file->bytes, file->size))
        return 0;
    int fd = spool_open_temporary_file(spool, e);
    if (fd < 0)
        return -1;
    struct model_file copy = {.name = file->name, .title = file->title};
    int failed = npz_decompress_records(file->title, file->bytes, file->size, fd, e) ||
                 model_files_map_fd(&copy, fd, e) < 0;
    close(fd);
    if (failed)
        return -1;
    notes_print(notes, "decompressed %s to a temporary file: %llu MiB", file->title,
                (unsigned long long)(copy.size >> 20));
    munmap((void *)file->bytes, file->size);
    file->bytes = copy.bytes;
    file->size = copy.size;
    file->is_mapped = copy.is_mapped;
    return 0;
}

/* ---- copying to a temporary file ------------------------------------------------------------- */

/* Copies the input, unless its first bytes are those of a format that is not supported, to a
 * temporary file, and adds that under `name`; -1 on error, else its descriptor, which the caller
 * closes. */
static int copy_to_temporary_file(struct model_files *f, struct byte_input *in, const char *name,
                                  const char *title, const char *spool, struct error *e)
{
    size_t n;
    const unsigned char *bytes = byte_input_peek(in, &n);
    if (file_format_check(title, bytes, n, e))
        return -1;
    int fd = spool_open_temporary_file(spool, e);
    if (fd >= 0 && byte_input_copy_to_file(in, fd, e) == 0 &&
        model_files_map_fd(model_files_add(f, name, title, 0), fd, e) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static int decompress(struct model_files *f, int fd, const char *path, const char *spool,
                      struct error *e)
{
    const char *slash = strrchr(path, '/');
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(e, "cannot open %s: %s", path, strerror(errno));
    const struct input_file_version before = input_file_version(&st);
    struct byte_input *in = byte_input_open(fd, path, NULL, 0, e);
    int copy = in ? copy_to_temporary_file(f, in, slash ? slash + 1 : path, path, spool, e) : -1;
    byte_input_close(in);
    if (copy < 0)
        return -1;
    close(copy);
    return input_file_check_unchanged_fd(fd, path, &before, e);
}

int model_input_add_compressed_file(struct model_files *f, struct weight_files *w, const char *path,
                                    const char *spool, struct error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(e, "cannot open %s: %s", path, strerror(errno));
    int failed = decompress(f, fd, path, spool, e);
    close(fd);
    if (failed)
        return -1;
    weight_files_add(w, &f->files[0]);
    notes_print(w->notes, "decompressed %s to a temporary file: %llu MiB", path,
                (unsigned long long)(f->files[0].size >> 20));
    return 0;
}

/* ---- pipes ----------------------------------------------------------------------------------- */

/* Replaces the copy of a zip, which the first file is, by the files in it. */
static int unarchive_copied_zip(struct model_files *f, struct weight_files *w, int fd,
                                const char *spool, struct error *e)
{
    const struct unarchive_input input = {.path = w->path, .fd = fd};
    model_files_free(f);
    if (lseek(fd, 0, SEEK_SET) < 0)
        return error_set(e, "cannot read %s: %s", w->path, strerror(errno));
    return unarchive_model(f, &input, spool, w->notes, e) ? -1 : weight_files_find(w, e);
}

static int add_copied_file(struct model_files *f, struct weight_files *w, int fd, const char *spool,
                           struct error *e)
{
    struct model_file *file = &f->files[0];
    bool is_zip = file_format_detect(file->bytes, file->size) == FILE_FORMAT_ZIP;
    int is_weights = is_zip ? model_input_is_weight_zip(file, e) : 1;
    if (is_weights <= 0)
        return is_weights < 0 ? -1 : unarchive_copied_zip(f, w, fd, spool, e);
    weight_files_add(w, file);
    notes_print(w->notes, "copied %s to a temporary file: %llu MiB", w->path,
                (unsigned long long)(file->size >> 20));
    return 0;
}

int model_input_add_pipe(struct model_files *f, struct weight_files *w, struct byte_input *in,
                         const char *spool, struct error *e)
{
    size_t n;
    const unsigned char *bytes = byte_input_peek(in, &n);
    enum file_format format = file_format_detect(bytes, n);
    if (format == FILE_FORMAT_UNKNOWN || format == FILE_FORMAT_STREAM ||
        format == FILE_FORMAT_COMPRESSED)
        return error_set(
            e,
            "%s is %s; expected a safetensors, GGUF, .npz or torch.save file, an archive "
            "of a folder, or a stream of weights",
            w->path, n ? "not a model" : "empty");
    if (format == FILE_FORMAT_ARCHIVE) {
        const struct unarchive_input input = {.path = w->path, .in = in, .fd = -1};
        return unarchive_model(f, &input, spool, w->notes, e) ? -1 : weight_files_find(w, e);
    }
    int fd = copy_to_temporary_file(f, in, "model", w->path, spool, e);
    if (fd < 0)
        return -1;
    int failed = add_copied_file(f, w, fd, spool, e);
    close(fd);
    return failed;
}
