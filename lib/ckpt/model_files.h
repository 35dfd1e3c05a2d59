/* The files of one model: those of a folder, a single file, or those of an unpacked archive; their
 * names, sizes and mapped contents.
 *
 * A model_files owns its list, names and mappings until model_files_free. Zeroed it is empty. */
#ifndef TV_MODEL_FILES_H
#define TV_MODEL_FILES_H

#include "error.h"
#include "input_file.h"
#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_FILES_MAX_AUXILIARY (256 << 20) /* bytes; larger auxiliary files are not read */

struct model_file {
    const char *name;           /* without the folder */
    const char *title;          /* in messages: the path, or "NAME in ARCHIVE" */
    const unsigned char *bytes; /* NULL: not mapped yet */
    uint64_t size;
    bool is_mapped;         /* an empty file has bytes, but no mapping */
    const char *unreadable; /* why the file cannot be read; NULL: it can */
    bool is_path;           /* `title` is a path, and not the name of a file in an archive */
    struct input_file_version version; /* of a path: when it was listed, else when it was read */
};

struct model_files {
    struct arena arena;
    struct model_file *files; /* sorted by name */
    size_t n, capacity;
    const char **omitted; /* hidden files and, with a slash at the end, sub-folders; sorted */
    size_t n_omitted, omitted_capacity;
    const char *download_hint; /* what errors about a missing file add; NULL: nothing */
};

enum model_file_kind {
    MODEL_FILE_WEIGHTS,     /* .safetensors, .bin, ...: may contain tensors */
    MODEL_FILE_UNSUPPORTED, /* weights in a format that is not supported */
    MODEL_FILE_INDEX,       /* lists the shard of each tensor */
    MODEL_FILE_AUXILIARY    /* everything else: config, tokenizer, code, licenses */
};
/* The kind of a file, from its name. */
enum model_file_kind model_files_kind_of(const char *name);
/* Is it the name of the weights in every model's folder, such as model.safetensors? */
bool model_files_is_default_weights_name(const char *name);
/* Is it a file name without a folder, and not "." or ".."? */
bool model_files_is_bare_name(const char *name);

/* Adds the files in the folder `path`, following links, and lists what it omits. Files that exist
 * but cannot be read (a dangling link, a FIFO) are added too: reading them is an error. */
int model_files_add_folder(struct model_files *f, const char *path, struct error *e);
/* Adds one file; copies `name` and `title`. */
struct model_file *model_files_add(struct model_files *f, const char *name, const char *title,
                                   uint64_t size);
/* Sorts the lists by name, which model_files_find needs. */
void model_files_sort(struct model_files *f);
/* download_hint, or "". */
const char *model_files_download_hint(const struct model_files *f);
/* NULL if there is no file of that name. */
struct model_file *model_files_find(const struct model_files *f, const char *name);
void model_files_free(struct model_files *f);

/* Maps a file whose title is its path, unless it is mapped already. */
int model_files_map_file(struct model_file *file, struct error *e);
/* Maps the open file `fd` as the contents of `file`. */
int model_files_map_fd(struct model_file *file, int fd, struct error *e);
/* Reads a file of at most MODEL_FILES_MAX_AUXILIARY bytes, and adds a zero byte. The caller frees;
 * NULL on error. */
char *model_files_read(struct model_file *file, struct error *e);
/* An error if a mapped file has changed since. Files of archives are not checked. */
int model_files_check_unchanged(const struct model_files *f, struct error *e);
/* Are single pages of a mapped file read next, here and there? */
void model_files_set_random_access(const struct model_file *file, bool is_random);
/* Lets the kernel drop the pages of these bytes and of up to 2 MiB around them, because the kernel
 * maps a page together with its neighbors. They are read again when they are used. */
void model_files_release_pages(const struct model_file *file, const unsigned char *from,
                               size_t size);
/* The same for bytes of a file that is read sequentially: pages are dropped in batches, and after
 * the `last` bytes. */
void model_files_release_pages_sequentially(const struct model_file *file,
                                            const unsigned char *from, size_t size, bool last);

#endif
