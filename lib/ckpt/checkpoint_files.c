#include "checkpoint_files.h"

#include "file_format.h"
#include "foreign_format.h"
#include "hf_cache.h"
#include "model_input.h"
#include "read_files.h"
#include "shard_name.h"
#include "unarchive.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Is the zip at `path` a weight file? 0: it is an archive; -1: it is damaged. */
static int is_weight_zip(const char *path, struct error *e)
{
    struct model_file file = {.title = path};
    int found = model_input_is_weight_zip(&file, e);
    if (file.is_mapped)
        munmap((void *)file.bytes, file.size);
    return found;
}

/* A weight file given by its path. model.safetensors and the like bring the auxiliary files of
 * their folder, a file of a split GGUF model the others. */
static int list_single_weight_file(struct model_files *files, struct weight_files *w,
                                   const char *path, enum file_format format, struct error *e)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *folder = ".";
    if (slash)
        folder =
            slash == path ? "/" : arena_copy_text_n(&files->arena, path, (size_t)(slash - path));
    bool is_default = model_files_is_default_weights_name(name);
    if (is_default && model_files_add_folder(files, folder, e) < 0)
        return -1;
    if (is_default && model_files_find(files, "config.json") && model_files_find(files, name)) {
        weight_files_add(w, model_files_find(files, name));
        return 0;
    }
    model_files_free(files);
    struct shard_name s = {0};
    bool is_split = format == FILE_FORMAT_GGUF && shard_name_parse(name, ".gguf", &s);
    size_t splits = is_split ? s.count : 0;
    for (size_t i = 0; i < splits; i++) {
        const char *split = shard_name_of_number(name, &s, i + 1, ".gguf", &files->arena);
        model_files_add(files, split,
                        arena_printf(&files->arena, "%.*s%s", (int)(name - path), path, split), 0);
    }
    if (splits == 0)
        model_files_add(files, name, path, 0);
    for (size_t i = 0; i < files->n; i++)
        weight_files_add(w, &files->files[i]);
    return 0;
}

int checkpoint_files_list(struct model_files *files, struct weight_files *w, const char *path,
                          const char *spool, struct error *e)
{
    struct stat st;
    enum file_format format = FILE_FORMAT_UNKNOWN;
    bool is_compressed = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), failed = 0;
    if (fd < 0 || fstat(fd, &st) < 0)
        failed = error_set(e, "cannot open %s: %s", path, strerror(errno));
    else if (S_ISREG(st.st_mode))
        failed = model_input_detect(fd, path, &format, &is_compressed, e);
    if (fd >= 0)
        close(fd);
    if (failed)
        return -1;
    read_files_add(&st);
    if (S_ISDIR(st.st_mode)) {
        files->download_hint = hf_cache_download_hint(path, &files->arena);
        return model_files_add_folder(files, path, e) < 0 ? -1 : weight_files_find(w, e);
    }
    const struct foreign_format *foreign =
        foreign_format_of_file(path, format != FILE_FORMAT_UNKNOWN);
    if (foreign)
        return foreign_format_set_error(path, foreign, e);
    if (is_compressed && format != FILE_FORMAT_ARCHIVE)
        return model_input_add_compressed_file(files, w, path, spool, e);
    int is_weights = format == FILE_FORMAT_ZIP ? is_weight_zip(path, e) : 0;
    if (is_weights < 0)
        return -1;
    if (format == FILE_FORMAT_ARCHIVE || (format == FILE_FORMAT_ZIP && !is_weights)) {
        const struct unarchive_input input = {.path = path, .fd = -1};
        return unarchive_model(files, &input, spool, w->notes, e) ? -1 : weight_files_find(w, e);
    }
    return list_single_weight_file(files, w, path, format, e);
}
