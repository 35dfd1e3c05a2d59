/* The files of one model: those of a folder on disk, a file alone, or what an archive held. A
 * folder owns its list, texts and mapped bytes until model_files_free. Zeroed it is empty. */
#ifndef TV_MODEL_FILES_H
#define TV_MODEL_FILES_H

#include "error.h"
#include "mem.h"

#include <stddef.h>
#include <stdint.h>

#define MODEL_FILES_MAX_AUXILIARY (256 << 20) /* bytes of what counts as a small file */

struct model_file {
    const char *name;           /* without folder */
    const char *title;          /* what sentences call it: its path, or "NAME in ARCHIVE" */
    const unsigned char *bytes; /* NULL: not mapped yet */
    uint64_t size;
    bool is_mapped; /* an empty file has bytes, but no mapping */
};

struct model_files {
    struct arena arena;
    struct model_file *files; /* sorted by name */
    size_t n, room;
};

enum model_file_kind {
    MODEL_FILE_WEIGHTS,     /* .safetensors, .bin, ...: may be tensors */
    MODEL_FILE_UNSUPPORTED, /* weights in a form that is not read here */
    MODEL_FILE_INDEX,       /* which tensor is in which file */
    MODEL_FILE_AUXILIARY    /* all else: config, tokenizer, ... */
};
/* By the name's ending. */
enum model_file_kind model_file_kind(const char *name);
/* No slash, not "." or "..", not empty. */
bool model_files_is_bare_name(const char *name);

/* Adds the files in the folder at `path`, links followed; hidden files and sub-folders are left
 * out. */
int model_files_add_folder(struct model_files *f, const char *path, struct error *e);
/* Adds one file; `title` is copied. */
struct model_file *model_files_add(struct model_files *f, const char *name, const char *title,
                                   uint64_t size);
void model_files_sort(struct model_files *f);
struct model_file *model_files_find(const struct model_files *f, const char *name);
/* Maps a file that lies under its title as path, unless it is mapped already. */
int model_files_map(struct model_file *file, struct error *e);
/* Maps the open file `fd` as the contents of `file`. */
int model_files_map_fd(struct model_file *file, int fd, struct error *e);
/* Lets pages of a mapping go, with what lies around them up to 2 MiB: with one page the kernel maps
 * its neighbours, or the whole folio of the page cache. They come back when they are touched. */
void model_files_release_pages(const struct model_file *file, const unsigned char *from,
                               size_t size);
/* The same for a part of what is read one after another: now and then, and behind the last. */
void model_files_release_pages_behind(const struct model_file *file, const unsigned char *from,
                                      size_t size, bool last);
void model_files_free(struct model_files *f);

#endif
