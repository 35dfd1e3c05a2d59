/* Models in archives: tar or zip, also compressed with gzip, zstd or xz, read with libarchive. */
#ifndef TV_UNARCHIVE_H
#define TV_UNARCHIVE_H

#include "model_files.h"

#include <stdio.h>

/* Unpacks a model's files to unlinked temporary files in `spool` (NULL: $TMPDIR, else /var/tmp)
 * and adds them to `f`, mapped. They lie at the archive's top or in one folder there; what is
 * deeper, hidden, or no file of a model is left out. Nothing is ever written under a name that
 * the archive gives. Says to `notes` that it unpacked. */
int unarchive(struct model_files *f, const char *path, const char *spool, FILE *notes,
              struct error *e);

#endif
