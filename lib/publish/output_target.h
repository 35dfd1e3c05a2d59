/* Where a checkpoint is written: a name in a folder, which must be free or may be replaced. The
 * checkpoint is made under another name in that folder and then renamed. A target that is a
 * symbolic link is replaced itself; what it points to stays. A pipe, a device, or a link to a
 * descriptor of this process is an error.
 *
 * An output_target owns what it points to until output_target_close. */
#ifndef TV_OUTPUT_TARGET_H
#define TV_OUTPUT_TARGET_H

#include "error.h"
#include "input_guard.h"
#include "mem.h"
#include "replaced_target.h"

#include <stdbool.h>
#include <stdint.h>

enum output_form {
    OUTPUT_FOLDER,      /* OUT or OUT/ */
    OUTPUT_SAFETENSORS, /* OUT.safetensors: one file without auxiliary files */
    OUTPUT_GGUF,        /* OUT.gguf: one file with its config and tokenizer */
    OUTPUT_TAR,         /* OUT.tar, or - for standard output */
    OUTPUT_TAR_ZST      /* OUT.tar.zst */
};

/* The form that a target's name asks for, in upper or lower case. */
enum output_form output_target_form_of_name(const char *target);
/* Is it one file of weights, and no folder or archive of one? */
static inline bool output_form_is_single_file(enum output_form form)
{
    return form == OUTPUT_SAFETENSORS || form == OUTPUT_GGUF;
}

/* Is it the name of a file or folder, without an ending of a format that cannot be written, such as
 * .bin? */
int output_target_check_name(const char *target, struct error *e);

struct output_target {
    enum output_form form;
    bool force;
    const char *tool; /* that warnings begin with: "pack" unless it is set */
    char *path;       /* as messages name it */
    const char *name; /* its last component */
    char *aside;      /* where --force moves what it replaces if names cannot be exchanged */
    int parent;       /* the folder that contains it; -1: standard output */
    char **made;      /* the folders above it that did not exist, the highest first */
    size_t n_made;
    struct input_guard guard;        /* with `force` */
    struct replaced_target replaced; /* with `force`, as it was found last */
    struct arena arena;
};

/* Sets form, path, force and, unless it is NULL, the guard; checks the name. */
int output_target_open(struct output_target *t, const char *path, bool force,
                       const struct input_guard *guard, struct error *e);
/* Opens the parent folder, and makes it and those above it if they are missing. A target that
 * exists is an error unless it is an empty folder or `force` is set, and with `force` unless it may
 * be replaced (replaced_target.h) and is no input of the run (input_guard.h). A slash behind the
 * name of a file that exists is an error. */
int output_target_open_parent(struct output_target *t, struct error *e);
/* Would output_target_open_parent accept the target? Makes no folder; `folder`, in the target's
 * arena, is the one that it would be made in or under. */
int output_target_check_parent(struct output_target *t, const char **folder, struct error *e);
/* Sets the guard after that, and checks the target again. */
int output_target_set_guard(struct output_target *t, const struct input_guard *guard,
                            struct error *e);
/* Also removes the folders that were made, if they are still empty. */
void output_target_close(struct output_target *t);

/* Are `need` bytes free on the file system of the target? */
int output_target_check_space(const struct output_target *t, uint64_t need, struct error *e);
/* A random hidden name for a temporary file or folder next to the target: ".NAME.WHAT-XXXXXX". The
 * caller frees. */
char *output_target_temporary_name(const struct output_target *t, const char *what);
/* "cannot write TARGET/FILE: " and the reason in errno; returns -1. */
int output_target_write_error(const struct output_target *t, const char *file, struct error *e);

/* Locks the parent folder until output_target_unlock, so that processes with the same target rename
 * one after another. A folder that cannot be locked, or that another process holds locked for
 * seconds, is used without a lock. */
void output_target_lock(const struct output_target *t);
void output_target_unlock(const struct output_target *t);
/* With `force`: is there a target, and may it be replaced? Call it again right before the renaming:
 * it may have become another one, or an input. 1, and `replaced` is filled in; 0: there is none, or
 * no `force`; -1: error, also of a pipe or device without `force`. */
int output_target_find_replaced(struct output_target *t, struct error *e);
/* Renames `name`, in the folder `from`, to the target. An existing target is exchanged for it if it
 * is still `replaced`; where the file system cannot exchange names, it is moved aside first.
 * *old is what is to be removed then: a name in the folder *old_folder, `from` or the target's
 * parent; NULL for nothing. Allocates no memory. */
int output_target_rename_into_place(const struct output_target *t, int from, const char *name,
                                    bool replaces, int *old_folder, const char **old,
                                    struct error *e);
/* Removes the old file or folder; what has appeared in it since it was checked is left next to the
 * target, with a warning. */
void output_target_remove_old(const struct output_target *t, int old_folder, const char *old);
/* Afterwards: syncs the parent folder. */
int output_target_sync(const struct output_target *t, struct error *e);
/* Prints a warning that `what`, next to the target, could not be removed, with the reason in errno.
 */
void output_target_warn_not_removed(const struct output_target *t, const char *what);

#endif
