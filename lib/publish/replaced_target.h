/* What --force replaces: a link, an empty file or folder, a weight file, an archive of a model, or
 * a folder that is one checkpoint and holds nothing else. It is checked before it is replaced, and
 * what was checked is removed afterwards: what appears in it meanwhile stays.
 *
 * A replaced_target owns its records until replaced_target_free. Zeroed it is empty. */
#ifndef TV_REPLACED_TARGET_H
#define TV_REPLACED_TARGET_H

#include "error.h"
#include "mem.h"

#include <stdbool.h>
#include <sys/stat.h>

struct replaced_target {
    struct stat st; /* of the file, folder or link itself */
    /* Which file, folder or link it is, and which files the folder contains, each as text that ends
     * with a zero and begins with REPLACED_TARGET_RECORD. */
    struct bytes records;
};

#define REPLACED_TARGET_RECORD "/replaced/" /* no file has such a name */

/* Checks `name`, in the folder `parent`, which messages call `path`. 1: it may be replaced; 0:
 * there is none; -1: it may not, and the error names what it is or the first entry that belongs to
 * no checkpoint. A file or archive that has not changed since `r` was filled in is not read again.
 */
int replaced_target_check(struct replaced_target *r, int parent, const char *name, const char *path,
                          struct error *e);
/* Is `name` the file that replaced_target_check has read, unchanged since? */
bool replaced_target_is_checked_file(const struct replaced_target *r, int parent, const char *name);
/* Is `name` still the file, folder or link of the records? */
bool replaced_target_is(const char *records, size_t size, int parent, const char *name);
/* Removes it, and of a folder the files in the records, if it is still that. -1 if anything is
 * left. Allocates no memory. Other texts among the records are ignored. */
int replaced_target_remove(const char *records, size_t size, int parent, const char *name);
void replaced_target_free(struct replaced_target *r);

#endif
