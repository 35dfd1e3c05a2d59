/* Unpacks models from archives: tar or zip, optionally compressed with gzip, zstd or xz, read with
 * libarchive. */
#ifndef TV_UNARCHIVE_H
#define TV_UNARCHIVE_H

#include "byte_input.h"
#include "model_files.h"

#include <stdio.h>

/* Where an archive is read from. */
struct unarchive_input {
    const char *path;      /* its name in messages; opened where the following are not set */
    struct byte_input *in; /* a tar, or NULL */
    int fd;                /* any archive, or -1 */
};

/* Unpacks the model's files to unlinked temporary files in `spool` (NULL: $TMPDIR, else /var/tmp)
 * and adds them to `f`, mapped and sorted. They are at the top of the archive or in one folder
 * there; files in deeper folders, hidden files and weights in unsupported formats are skipped. No
 * file is ever created under a name from the archive. Notes to `notes` that it unpacked. */
int unarchive_model(struct model_files *f, const struct unarchive_input *input, const char *spool,
                    FILE *notes, struct error *e);

#endif
