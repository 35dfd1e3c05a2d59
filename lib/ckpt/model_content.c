#include "model_content.h"

#include "file_format.h"
#include "gguf.h"
#include "model_input.h"
#include "npz.h"
#include "safetensors.h"
#include "torch_file.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE ((size_t)1 << 17)

/* ---- weight files ---------------------------------------------------------------------------- */

/* Does the header list tensors that fill the rest of the file? */
static bool is_safetensors(const char *title, const unsigned char *bytes, size_t size)
{
    struct error ignored;
    struct stored_tensors s = {.file = title, .model = title};
    bool is_valid = safetensors_list_tensors(&s, bytes, size, &ignored) == 0;
    stored_tensors_free(&s);
    return is_valid;
}

/* Does the header list tensors that fill the rest of the file? */
static bool is_gguf(const char *title, const unsigned char *bytes, size_t size)
{
    struct error ignored;
    struct gguf g = {.file = title};
    bool is_valid = gguf_read(&g, bytes, size, &ignored) == 0;
    gguf_free(&g);
    return is_valid;
}

/* The bytes of the file may be replaced by those of a decompressed copy. */
static bool is_npz(struct model_file *file)
{
    struct error ignored;
    struct stored_tensors s = {.file = file->title, .model = file->title};
    bool is_valid = npz_recognize(file->title, file->bytes, file->size) &&
                    model_input_decompress_npz(file, NULL, NULL, &ignored) == 0 &&
                    npz_list_tensors(&s, file->bytes, file->size, &ignored) == 0;
    stored_tensors_free(&s);
    return is_valid;
}

static bool is_weights(struct model_file *file)
{
    switch (file_format_detect(file->bytes, file->size)) {
    case FILE_FORMAT_SAFETENSORS:
        return is_safetensors(file->title, file->bytes, file->size);
    case FILE_FORMAT_GGUF:
        return is_gguf(file->title, file->bytes, file->size);
    case FILE_FORMAT_ZIP:
        return is_npz(file) || torch_file_is_state_dict(file->title, file->bytes, file->size);
    default:
        return file_format_detect(file->bytes, file->size) == FILE_FORMAT_TORCH_LEGACY &&
               torch_file_is_state_dict(file->title, file->bytes, file->size);
    }
}

bool model_content_is_weight_file(int fd, const char *title)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return false;
    size_t size = (size_t)st.st_size;
    void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return false;
    struct model_file file = {
        .name = title, .title = title, .bytes = bytes, .size = size, .is_mapped = true};
    bool found = is_weights(&file);
    munmap((void *)file.bytes, file.size);
    return found;
}

/* ---- archives -------------------------------------------------------------------------------- */

struct listing {
    struct archive *archive;
    bool (*is_known)(const char *name);
    char *folder; /* of the first file, with its slash; "": none; NULL: none was seen */
    size_t n_weights;
};

/* Reads the beginning of the current file, up to `size` bytes; their number. */
static size_t read_beginning(const struct listing *l, unsigned char *to, size_t size)
{
    size_t done = 0;
    while (done < size) {
        la_ssize_t n = archive_read_data(l->archive, to + done, size - done);
        if (n == ARCHIVE_RETRY)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return done;
}

/* Does the header, of which the first n bytes of the file are known, list tensors that fill the
 * rest of it? */
static bool is_safetensors_entry(const struct listing *l, const unsigned char *start, size_t n,
                                 uint64_t size)
{
    struct error ignored;
    struct stored_tensors s = {.file = "", .model = ""};
    uint64_t length, data_size;
    if (n < 8 || safetensors_header_length("", start, &length, &ignored) || length > size - 8)
        return false;
    unsigned char *header = mem_alloc((size_t)length + 1, 1);
    size_t have = n - 8 < length ? n - 8 : (size_t)length;
    memcpy(header, start + 8, have);
    s.header = header;
    s.header_size = (size_t)length;
    bool is_valid = have + read_beginning(l, header + have, (size_t)length - have) == length &&
                    safetensors_list_piped_tensors(&s, &data_size, &ignored) == 0 &&
                    data_size == size - 8 - length;
    stored_tensors_free(&s);
    free(header);
    return is_valid;
}

static bool is_weight_entry(const struct listing *l, struct archive_entry *entry)
{
    unsigned char start[512];
    size_t n = read_beginning(l, start, sizeof start);
    return file_format_detect(start, n) == FILE_FORMAT_SAFETENSORS &&
           archive_entry_size_is_set(entry) &&
           is_safetensors_entry(l, start, n, (uint64_t)archive_entry_size(entry));
}

/* The name of a file in the model's folder, which is that of the first file. */
static const char *name_in_folder(struct listing *l, const char *path)
{
    while (strncmp(path, "./", 2) == 0)
        path += 2;
    const char *slash = strchr(path, '/');
    if (!l->folder)
        l->folder = mem_printf("%.*s", slash ? (int)(slash - path) + 1 : 0, path);
    size_t n = strlen(l->folder);
    return strncmp(path, l->folder, n) == 0 ? path + n : path;
}

static bool is_model_entry(struct listing *l, struct archive_entry *entry, const char *path)
{
    if (archive_entry_filetype(entry) == AE_IFDIR) {
        const char *slash = strchr(path, '/');
        return strcmp(path, ".") == 0 || !slash || !slash[1] || strcmp(path, "./") == 0;
    }
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry))
        return false;
    const char *name = name_in_folder(l, path);
    if (model_files_kind_of(name) != MODEL_FILE_WEIGHTS)
        return l->is_known(name);
    l->n_weights++;
    return model_files_is_bare_name(name) && is_weight_entry(l, entry);
}

/* Looks at all entries; true if the archive was read to its end and all of them belong to a model.
 */
static bool look_at_entries(struct listing *l, struct archive_entry *entry, char **foreign)
{
    int status;
    while ((status = archive_read_next_header2(l->archive, entry)) == ARCHIVE_OK ||
           status == ARCHIVE_WARN) {
        const char *path = archive_entry_pathname(entry);
        if (path && is_model_entry(l, entry, path))
            continue;
        *foreign = mem_copy_text(path ? path : "a file without a readable name");
        return false;
    }
    return status == ARCHIVE_EOF;
}

/* A tar is read beyond its end blocks, so that another one behind it is found. */
static bool open_archive(struct archive *a, int fd)
{
    return archive_read_support_filter_gzip(a) >= ARCHIVE_WARN &&
           archive_read_support_filter_zstd(a) >= ARCHIVE_WARN &&
           archive_read_support_filter_xz(a) >= ARCHIVE_WARN &&
           archive_read_support_format_tar(a) >= ARCHIVE_WARN &&
           archive_read_set_format_option(a, "tar", "read_concatenated_archives", "1") ==
               ARCHIVE_OK &&
           lseek(fd, 0, SEEK_SET) == 0 && archive_read_open_fd(a, fd, PIECE) == ARCHIVE_OK;
}

/* Does the tar have its end blocks, and were all bytes of the file read? Some decompressors ignore
 * what follows the compressed data. */
static bool was_read_to_end(struct archive *a, int fd)
{
    struct stat st;
    return archive_filter_bytes(a, 0) >= archive_read_header_position(a) + 512 &&
           fstat(fd, &st) == 0 && archive_filter_bytes(a, -1) == st.st_size;
}

bool model_content_is_archive(int fd, bool (*is_known)(const char *name), char **foreign)
{
    struct listing l = {.archive = mem_check(archive_read_new()), .is_known = is_known};
    struct archive_entry *entry = mem_check(archive_entry_new2(l.archive));
    *foreign = NULL;
    bool is_model = open_archive(l.archive, fd) && look_at_entries(&l, entry, foreign) &&
                    l.n_weights > 0 && was_read_to_end(l.archive, fd);
    archive_entry_free(entry);
    archive_read_free(l.archive);
    free(l.folder);
    return is_model;
}
