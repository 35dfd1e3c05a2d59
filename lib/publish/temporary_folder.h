/* The hidden folder next to a target in which the target is made:
 *
 *     .OUT.partial-XXXXXX/manifest    the names of what was created in model/; held locked
 *     .OUT.partial-XXXXXX/model/      the future OUT, or the folder of a future single file
 *
 * Only its owner may enter it. What a killed process left is recognized by name, owner, manifest
 * and lock; temporary_folder_remove_abandoned removes what the manifest lists and nothing else.
 *
 * A temporary_folder owns its names and descriptors until temporary_folder_close. */
#ifndef TV_TEMPORARY_FOLDER_H
#define TV_TEMPORARY_FOLDER_H

#include "output_target.h"

struct temporary_folder {
    int parent;                 /* of the target; borrowed */
    char *name;                 /* in `parent` */
    int outer, model, manifest; /* the folder, model/ in it, and the manifest; -1: not open */
    uid_t owner;
};

#define TEMPORARY_FOLDER_CLOSED                                                                    \
    (struct temporary_folder)                                                                      \
    {                                                                                              \
        .parent = -1, .outer = -1, .model = -1, .manifest = -1                                     \
    }

/* Creates the folder. Returns -1 with the reason in errno; call temporary_folder_remove also
 * then. */
int temporary_folder_create(struct temporary_folder *f, const struct output_target *target);
/* Removes the folders of killed processes with the same target. */
void temporary_folder_remove_abandoned(const struct temporary_folder *f,
                                       const struct output_target *target);
/* Lists the name of a file that is about to be created in model/. */
int temporary_folder_list(const struct temporary_folder *f, const char *name);
/* Lists what is about to come to the folder in exchange for model/, to be removed. */
int temporary_folder_list_replaced(const struct temporary_folder *f,
                                   const struct replaced_target *replaced);
/* Removes the manifest and the folders, which must be empty. Makes only system calls that a signal
 * handler may make. Returns -1 if something is left. */
int temporary_folder_remove(const struct temporary_folder *f);
void temporary_folder_close(struct temporary_folder *f);

#endif
