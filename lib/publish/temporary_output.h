/* The temporary folder or file in which a checkpoint is made, next to its target. It is renamed to
 * the target as a whole, or removed as a whole, also when a signal (INT, TERM, HUP) ends the
 * program. A process has one at a time.
 *
 * A temporary_output owns its names and descriptors until temporary_output_close, but not its
 * target. Zeroed except for `target` and `folder` (-1) it is ready for temporary_output_create. */
#ifndef TV_TEMPORARY_OUTPUT_H
#define TV_TEMPORARY_OUTPUT_H

#include "output_target.h"

struct temporary_output {
    const struct output_target *target;
    int folder; /* that contains the files; for a single file the parent of the target */
    char *name; /* in the parent of the target */
    struct temporary_file *_Atomic files;
    struct arena arena;
};

/* Creates an empty folder, or an empty file for a target of one file, and starts to catch signals.
 * *fd is the file's descriptor, -1 for a folder. */
int temporary_output_create(struct temporary_output *t, int *fd, struct error *e);
/* Creates a file in the folder with these bytes at its start, `length` bytes long. (A single file
 * has been created already and is filled.) */
int temporary_output_create_file(struct temporary_output *t, const char *name, const void *bytes,
                                 size_t size, uint64_t length, struct error *e);
/* The name of the file that temporary_output_create made for a target of one file. */
const char *temporary_output_file_name(const struct temporary_output *t);
int temporary_output_sync(const struct temporary_output *t, struct error *e);
/* Renames it to the target and removes what was replaced; a signal waits until that is done. */
int temporary_output_rename_into_place(struct temporary_output *t, struct error *e);
/* Removes the files and the folder, unless they have been renamed into place. */
void temporary_output_remove(struct temporary_output *t);
/* Stops catching signals; one that waited is raised. Call it after the removal or renaming. */
void temporary_output_close(struct temporary_output *t);

#endif
