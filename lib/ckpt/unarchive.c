#include "unarchive.h"

#include "fs.h"
#include "notes.h"
#include "spool.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILES 10000
#define PIECE     ((size_t)1 << 17)

struct unpacking {
    struct model_files *files;
    const struct unarchive_input *input;
    const char *path, *spool;
    struct archive *archive;
    unsigned char *piece;   /* (PIECE) read from input->in */
    const char *top_folder; /* of the first file, with its slash; "": none */
    uint64_t bytes;         /* unpacked so far */
};

static int set_archive_read_error(const struct unpacking *u, struct error *e)
{
    const char *why = archive_error_string(u->archive);
    return error_set(e, "cannot read the archive %s: %s", u->path, why ? why : "unknown error");
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool has_path_component(const char *name, const char *component)
{
    size_t n = strlen(component);
    for (const char *p = name; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
        if (strcspn(p, "/") == n && memcmp(p, component, n) == 0)
            return true;
    return false;
}

static bool has_hidden_path_component(const char *name)
{
    return *name == '.' || strstr(name, "/.") || has_path_component(name, "__MACOSX");
}

/* The path of an entry without "./"; NULL on error. Absolute paths, "..", links and devices are
 * errors. */
static const char *check_entry_path(const struct unpacking *u, struct archive_entry *entry,
                                    struct error *e)
{
    const char *name = archive_entry_pathname(entry);
    name = name ? name : archive_entry_pathname_utf8(entry);
    if (!name || !*name) {
        error_set(e, "%s contains a file without a readable name", u->path);
        return NULL;
    }
    if (*name == '/' || has_path_component(name, "..")) {
        error_set(e, "%s contains the path %.200s, which leads out of its folder", u->path, name);
        return NULL;
    }
    if (archive_entry_hardlink(entry) || archive_entry_filetype(entry) == AE_IFLNK) {
        error_set(e,
                  "%s contains the link %.200s; archive the files themselves (tar --dereference "
                  "--hard-dereference)",
                  u->path, name);
        return NULL;
    }
    if (archive_entry_filetype(entry) != AE_IFREG && archive_entry_filetype(entry) != AE_IFDIR) {
        error_set(e, "%s contains %.200s, which is not a file or a folder", u->path, name);
        return NULL;
    }
    while (name[0] == '.' && name[1] == '/')
        for (name++; *name == '/'; name++)
            ;
    return name;
}

/* The name of a model's file without the top folder; NULL if the file is skipped, or on an error,
 * which sets *failed. */
static const char *strip_top_folder(struct unpacking *u, const char *name, int *failed,
                                    struct error *e)
{
    const char *slash = strchr(name, '/');
    if (has_hidden_path_component(name))
        return NULL;
    if (!u->top_folder)
        u->top_folder =
            arena_copy_text_n(&u->files->arena, name, slash ? (size_t)(slash - name) + 1 : 0);
    size_t n = strlen(u->top_folder);
    if (strncmp(name, u->top_folder, n) != 0) {
        *failed = error_set(e,
                            "%s contains %.200s outside the folder %.200s; all files of a model "
                            "must be in one folder",
                            u->path, name, u->top_folder);
        return NULL;
    }
    name += n;
    bool wanted =
        model_files_is_bare_name(name) && model_files_kind_of(name) != MODEL_FILE_UNSUPPORTED;
    return wanted ? name : NULL;
}

/* ---- contents -------------------------------------------------------------------------------- */

static int check_declared_size(const struct unpacking *u, int fd, const char *name, uint64_t size,
                               struct error *e)
{
    uint64_t available = fs_available_bytes(fd);
    if (size <= available)
        return 0;
    return error_set(e,
                     "%s in %s needs %llu bytes, but the temporary folder has only %llu free "
                     "(--spool chooses another)",
                     name, u->path, (unsigned long long)size, (unsigned long long)available);
}

/* After `size` more bytes, now and then: files may be larger than declared, or declare no size. */
static int check_growth(struct unpacking *u, int fd, size_t size, struct error *e)
{
    if (fs_has_room(fd, &u->bytes, size))
        return 0;
    return error_set(e,
                     "%s unpacks to more than the temporary folder holds: it is full after %llu "
                     "bytes (--spool chooses another)",
                     u->path, (unsigned long long)u->bytes);
}

static int write_all_bytes_at(const struct unpacking *u, int fd, const void *bytes, size_t size,
                              int64_t at, struct error *e)
{
    return fs_write_at(fd, (uint64_t)at, bytes, size)
               ? error_set(e, "cannot unpack %s to a temporary file: %s", u->path, strerror(errno))
               : 0;
}

/* Copies the contents of the current entry to `fd`. 1: done; 0: they have more than `max` bytes. */
static int copy_entry_contents(struct unpacking *u, int fd, int64_t max, struct error *e)
{
    const void *bytes;
    size_t size = 0;
    la_int64_t at = 0;
    for (;;) {
        int status = archive_read_data_block(u->archive, &bytes, &size, &at);
        if (status == ARCHIVE_RETRY)
            continue;
        if (status == ARCHIVE_EOF) /* a hole at the end has an offset, but no block */
            break;
        if (status != ARCHIVE_OK)
            return set_archive_read_error(u, e);
        if (at < 0 || at > max || (int64_t)size > max - at)
            return 0;
        if (write_all_bytes_at(u, fd, bytes, size, at, e) || check_growth(u, fd, size, e))
            return -1;
    }
    if (at > max)
        return 0;
    if (at > 0 && lseek(fd, 0, SEEK_END) < at && ftruncate(fd, at) < 0)
        return error_set(e, "cannot unpack %s to a temporary file: %s", u->path, strerror(errno));
    return 1;
}

/* Adds a file that is not unpacked: reading it is an error. */
static int add_too_large(struct unpacking *u, const char *name, const char *title)
{
    model_files_add(u->files, name, title, MODEL_FILES_MAX_AUXILIARY + 1);
    return 0;
}

static int unpack_entry_to_file(struct unpacking *u, struct archive_entry *entry, const char *name,
                                int fd, struct error *e)
{
    bool is_auxiliary = model_files_kind_of(name) != MODEL_FILE_WEIGHTS;
    uint64_t size = archive_entry_size_is_set(entry) ? (uint64_t)archive_entry_size(entry) : 0;
    char *title = arena_printf(&u->files->arena, "%s in %s", name, u->path);
    if (is_auxiliary && size > MODEL_FILES_MAX_AUXILIARY)
        return add_too_large(u, name, title);
    if (check_declared_size(u, fd, name, size, e))
        return -1;
    int done = copy_entry_contents(u, fd, is_auxiliary ? MODEL_FILES_MAX_AUXILIARY : INT64_MAX, e);
    if (done <= 0)
        return done < 0 ? -1 : add_too_large(u, name, title);
    return model_files_map_fd(model_files_add(u->files, name, title, 0), fd, e);
}

static int unpack_entry(struct unpacking *u, struct archive_entry *entry, struct error *e)
{
    int failed = 0;
    const char *name = check_entry_path(u, entry, e);
    if (!name)
        return -1;
    if (archive_entry_filetype(entry) == AE_IFDIR)
        return 0;
    name = strip_top_folder(u, name, &failed, e);
    if (!name)
        return failed;
    for (size_t i = 0; i < u->files->n; i++)
        if (strcmp(u->files->files[i].name, name) == 0)
            return error_set(e, "%s contains %.200s twice", u->path, name);
    if (u->files->n == MAX_FILES)
        return error_set(e, "%s contains more than %d files, too many for one model", u->path,
                         MAX_FILES);
    int fd = spool_open_temporary_file(u->spool, e);
    if (fd < 0)
        return -1;
    failed = unpack_entry_to_file(u, entry, name, fd, e);
    close(fd);
    return failed;
}

/* A complete tar ends with blocks of zeros, which a writer that failed leaves out. */
static int check_tar_end_blocks(const struct unpacking *u, struct error *e)
{
    bool is_tar = (archive_format(u->archive) & ARCHIVE_FORMAT_BASE_MASK) == ARCHIVE_FORMAT_TAR;
    if (is_tar &&
        archive_filter_bytes(u->archive, 0) < archive_read_header_position(u->archive) + 512)
        return error_set(e, "the archive %s is truncated: its end blocks are missing", u->path);
    return 0;
}

/* An archive_read_callback. */
static la_ssize_t read_from_input(struct archive *a, void *unpacking, const void **bytes)
{
    struct unpacking *u = unpacking;
    struct error e;
    *bytes = u->piece;
    ssize_t n = byte_input_read(u->input->in, u->piece, PIECE, &e);
    if (n < 0)
        archive_set_error(a, EIO, "%s", e.text);
    return n < 0 ? ARCHIVE_FATAL : n;
}

static int open_archive(struct unpacking *u, struct error *e)
{
    const struct unarchive_input *input = u->input;
    int status;
    if (input->in) {
        u->piece = mem_alloc(PIECE, 1);
        status = archive_read_open(u->archive, u, NULL, read_from_input, NULL);
    } else {
        status = input->fd < 0 ? archive_read_open_filename(u->archive, input->path, PIECE)
                               : archive_read_open_fd(u->archive, input->fd, PIECE);
    }
    return status == ARCHIVE_OK ? 0 : set_archive_read_error(u, e);
}

static int unpack_all_entries(struct unpacking *u, struct archive_entry *entry, struct error *e)
{
    if (open_archive(u, e))
        return -1;
    for (;;) {
        int status = archive_read_next_header2(u->archive, entry);
        if (status == ARCHIVE_EOF)
            return check_tar_end_blocks(u, e);
        if (status != ARCHIVE_OK && status != ARCHIVE_WARN)
            return set_archive_read_error(u, e);
        if (unpack_entry(u, entry, e) < 0)
            return -1;
    }
}

/* A filter that needs an external program gets a warning from libarchive. */
static int choose_formats(const struct unpacking *u, struct error *e)
{
    static int (*const choices[])(struct archive *) = {
        archive_read_support_filter_gzip, archive_read_support_filter_zstd,
        archive_read_support_filter_xz, archive_read_support_format_tar,
        archive_read_support_format_zip};
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++)
        if (choices[i](u->archive) < ARCHIVE_WARN)
            return set_archive_read_error(u, e);
    return 0;
}

/* The entry is not the archive's own, which may be missing when memory has run out. */
static int unpack(struct unpacking *u, struct error *e)
{
    struct archive_entry *entry = mem_check(archive_entry_new2(u->archive));
    int failed = choose_formats(u, e) || unpack_all_entries(u, entry, e) ? -1 : 0;
    archive_entry_free(entry);
    return failed;
}

/* The same for a file, which must not change meanwhile. */
static int unpack_file(struct unpacking *u, struct error *e)
{
    struct stat st;
    if (stat(u->path, &st) < 0)
        return error_set(e, "cannot read the archive %s: %s", u->path, strerror(errno));
    const struct input_file_version before = input_file_version(&st);
    return unpack(u, e) ? -1 : input_file_check_unchanged(u->path, u->path, &before, e);
}

int unarchive_model(struct model_files *f, const struct unarchive_input *input, const char *spool,
                    FILE *notes, struct error *e)
{
    struct unpacking u = {.files = f,
                          .input = input,
                          .path = input->path,
                          .spool = spool,
                          .archive = mem_check(archive_read_new())};
    int failed = input->in || input->fd >= 0 ? unpack(&u, e) : unpack_file(&u, e);
    archive_read_free(u.archive);
    free(u.piece);
    model_files_sort(f);
    if (!failed)
        notes_print(notes, "unpacked %s to temporary files: %zu file%s, %llu MiB", u.path, f->n,
                    f->n == 1 ? "" : "s", (unsigned long long)(u.bytes >> 20));
    return failed;
}
