/* The files of the checkpoint at a path: those of a folder or an archive, or one weight file with
 * the files that belong to it. The contents decide what a path is. */
#ifndef TV_CHECKPOINT_FILES_H
#define TV_CHECKPOINT_FILES_H

#include "weight_files.h"

/* Lists the files in `files` and those of them that contain weights in `w`, both empty. An archive
 * is unpacked, and a compressed file decompressed, to unlinked files in `spool` (NULL: $TMPDIR,
 * else /var/tmp). `files` owns what it lists, also after an error. */
int checkpoint_files_list(struct model_files *files, struct weight_files *w, const char *path,
                          const char *spool, struct error *e);

#endif
