/* The folder next to the target shared by the processes of a merge in parts. It stays until the
 * checkpoint in it is complete and is renamed to the target:
 *
 * Everything in it belongs to one user. Names that are not listed here are left alone. The
 * lock is created first and removed last.
 *
 *     .OUT.parts/lock            held shared by the parts at work, exclusively by the publisher
 *     .OUT.parts/model/          the future OUT, as far as it is finished
 *     .OUT.parts/NAME.json       the record of a shard, or of the auxiliary files; written without
 *                                a checksum before a shard that is not recorded comes to model/
 *     .OUT.parts/plan, header    what is to be made (parts_plan.h)
 *     .OUT.parts/files           names of the files in model/ that are not shards
 *     .OUT.parts/replaced        which file or folder model/ is exchanged for
 *     .OUT.parts/.NAME.XXXXXX    a shard that a process is writing, and holds locked
 *
 * A parts_folder owns its descriptors until parts_folder_close. */
#ifndef TV_PARTS_FOLDER_H
#define TV_PARTS_FOLDER_H

#include "output_target.h"
#include "shard_layout.h"

struct parts_folder {
    struct output_target target;
    char *name; /* in the parent of the target */
    int folder, model, lock;
    uid_t owner;
};

/* An error if the name of the target is not that of a folder. */
int parts_folder_check_target(const char *target, struct error *e);
/* Checks the target and opens the folder, which is created if `create` and must exist otherwise. A
 * folder that no merge has made, which shows in its lock, is an error and is left as it is.
 * Locks it; if another process holds the lock, that is an error unless both are `shared`. Call
 * parts_folder_close also after an error. */
int parts_folder_open(struct parts_folder *f, const char *target, bool force,
                      const struct input_guard *guard, bool create, bool shared, struct error *e);
void parts_folder_close(struct parts_folder *f);
/* "cannot write NAME in FOLDER: " and the reason in errno; returns -1. */
int parts_folder_write_error(const struct parts_folder *f, const char *name, struct error *e);
/* The same for "cannot read". */
int parts_folder_read_error(const struct parts_folder *f, const char *name, struct error *e);
/* "FOLDER contains NAME, which no merge has written; move it elsewhere", for the folder itself ("")
 * or a sub-folder ("/model"); returns -1. */
int parts_folder_foreign_error(const struct parts_folder *f, const char *subfolder,
                               const char *name, struct error *e);
/* Reads a file of the folder; *bytes is NULL if there is none, and otherwise the caller's to free.
 */
int parts_folder_read_file(const struct parts_folder *f, const char *name, char **bytes,
                           size_t *size, struct error *e);
/* Creates an empty, locked temporary file for a shard. Returns its descriptor, or -1 with the
 * reason in errno. The caller frees the name, *temporary. */
int parts_folder_create_temporary(const struct parts_folder *f, const char *shard,
                                  char **temporary);
/* Writes the header of a finished shard again, syncs it, and reads it and the size back. */
int parts_folder_write_header(const struct parts_folder *f, const struct shard *s, struct error *e);
/* Renames model/ to the target and removes the files of the folder. Signals are blocked
 * meanwhile. */
int parts_folder_publish(struct parts_folder *f, struct error *e);

#endif
