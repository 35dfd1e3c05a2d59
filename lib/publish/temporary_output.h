/* The files of a checkpoint before it is published, in a temporary folder next to its target
 * (temporary_folder.h). They are renamed to the target as a whole, or removed as a whole, also when
 * a signal or fatal_exit ends the program. A process has one at a time.
 *
 * A temporary_output owns its folder until temporary_output_close, but not its target. */
#ifndef TV_TEMPORARY_OUTPUT_H
#define TV_TEMPORARY_OUTPUT_H

#include "fatal.h"
#include "temporary_folder.h"

struct temporary_output {
    struct output_target *target;
    struct temporary_folder folder;
    struct temporary_file *_Atomic files;
    struct fatal_action on_fatal;
    struct arena arena;
};

void temporary_output_init(struct temporary_output *t, struct output_target *target);
/* Removes what killed processes left, creates an empty folder, and starts to catch signals. */
int temporary_output_create(struct temporary_output *t, struct error *e);
/* Creates a file that begins with these bytes and is `length` bytes long. */
int temporary_output_create_file(struct temporary_output *t, const char *name, const void *bytes,
                                 size_t size, uint64_t length, struct error *e);
/* Creates an empty file and returns its descriptor, or -1. The caller closes it. */
int temporary_output_open_file(struct temporary_output *t, const char *name, struct error *e);
/* Opens a file that was created. Returns its descriptor, or -1 with the reason in errno. */
int temporary_output_reopen_file(const struct temporary_output *t, const char *name);
/* Writes other bytes, as many as before, to the beginning of a file. */
int temporary_output_rewrite_start(struct temporary_output *t, const char *name, const void *bytes,
                                   size_t size, struct error *e);
/* Replaces the beginning of a file by as many bytes or more, behind which the rest is moved. */
int temporary_output_grow_start(struct temporary_output *t, const char *name, const void *bytes,
                                size_t size, struct error *e);
/* Sets the length that temporary_output_sync expects. */
void temporary_output_set_length(struct temporary_output *t, const char *name, uint64_t length);
/* Reads the beginnings of all files back and compares them and the sizes with what was written;
 * syncs all files. */
int temporary_output_sync(const struct temporary_output *t, struct error *e);
/* Renames the folder, or its single file, to the target, and removes what was replaced; a signal
 * waits until that is done. */
int temporary_output_rename_into_place(struct temporary_output *t, struct error *e);
/* Removes the files and the folder, unless they have been renamed into place. */
void temporary_output_remove(struct temporary_output *t);
/* Stops catching signals; one that waited is raised. Call it after the removal or renaming. */
void temporary_output_close(struct temporary_output *t);

#endif
