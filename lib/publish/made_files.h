/* Which files in model/ of a parts folder the merges there have made: those are removed when they
 * are not wanted any more, and no others. */
#ifndef TV_MADE_FILES_H
#define TV_MADE_FILES_H

#include "parts_folder.h"

/* Adds the name of a file, other than a shard, that is about to be created. An error if it exists
 * and no merge has made it. */
int made_files_add(const struct parts_folder *f, const char *name, struct error *e);
/* Removes the files of other merges and leftovers of killed processes: all but those that belong to
 * the checkpoint. A file that no merge has made is an error. */
int made_files_remove_others(const struct parts_folder *f,
                             bool (*belongs)(const void *checkpoint, const char *name),
                             const void *checkpoint, struct error *e);

#endif
