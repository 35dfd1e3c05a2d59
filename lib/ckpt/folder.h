/* The files of one model: those of a folder on disk, a file alone, or what an archive held. A
 * folder owns its list, texts and mapped bytes until folder_free. Zeroed it is empty. */
#ifndef TV_FOLDER_H
#define TV_FOLDER_H

#include "error.h"
#include "mem.h"

#include <stddef.h>
#include <stdint.h>

#define FOLDER_MAX_SMALL (256 << 20) /* bytes of what counts as a small file */

struct folder_file {
    const char *name;           /* without folder */
    const char *title;          /* what sentences call it: its path, or "NAME in ARCHIVE" */
    const unsigned char *bytes; /* NULL: not mapped yet */
    uint64_t size;
    bool is_mapped; /* an empty file has bytes, but no mapping */
};

struct folder {
    struct arena arena;
    struct folder_file *files; /* sorted by name */
    size_t n, room;
};

enum folder_kind {
    FOLDER_WEIGHTS, /* .safetensors, .bin, ...: may be tensors */
    FOLDER_FOREIGN, /* weights in a form that is not read here */
    FOLDER_INDEX,   /* which tensor is in which file */
    FOLDER_SMALL    /* all else: config, tokenizer, ... */
};
/* By the name's ending. */
enum folder_kind folder_kind(const char *name);
/* No slash, not "." or "..", not empty. */
bool folder_is_bare(const char *name);

/* Adds the files in the folder at `path`, links followed; hidden files and sub-folders are left
 * out. */
int folder_list(struct folder *f, const char *path, struct error *e);
/* Adds one file; `title` is copied. */
struct folder_file *folder_add(struct folder *f, const char *name, const char *title,
                               uint64_t size);
void folder_sort(struct folder *f);
struct folder_file *folder_find(const struct folder *f, const char *name);
/* Maps a file that lies under its title as path, unless it is mapped already. */
int folder_map(struct folder_file *file, struct error *e);
/* Maps the open file `fd` as the contents of `file`. */
int folder_map_fd(struct folder_file *file, int fd, struct error *e);
/* Lets pages of a mapping go, with what lies around them up to 2 MiB: with one page the kernel maps
 * its neighbours, or the whole folio of the page cache. They come back when they are touched. */
void folder_release(const struct folder_file *file, const unsigned char *from, size_t size);
/* The same for a part of what is read one after another: now and then, and behind the last. */
void folder_pass(const struct folder_file *file, const unsigned char *from, size_t size, bool last);
void folder_free(struct folder *f);

#endif
