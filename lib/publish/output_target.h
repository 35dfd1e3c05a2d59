/* Where a checkpoint goes: a name in a folder, which must be free or may be replaced, and what is
 * made beside it and put there in one go. A target owns what it points to until
 * output_target_close. */
#ifndef TV_OUTPUT_TARGET_H
#define TV_OUTPUT_TARGET_H

#include "error.h"
#include "mem.h"

#include <stdbool.h>
#include <stdint.h>

enum output_form {
    OUTPUT_FOLDER,      /* OUT or OUT/ */
    OUTPUT_SAFETENSORS, /* OUT.safetensors: one file and nothing beside it */
    OUTPUT_TAR,         /* OUT.tar, or - for standard output */
    OUTPUT_TAR_ZST      /* OUT.tar.zst */
};

/* What form a target's name asks for. */
enum output_form output_target_form(const char *target);

struct output_target {
    enum output_form form;
    bool force;
    char *name;       /* as sentences call it */
    const char *base; /* its last part */
    int parent;       /* the folder in which it lies; -1: it is standard output */
    struct arena arena;
};

/* Refuses an ending that promises a file which is not written. The folder is opened by
 * output_target_open_parent, which refuses a target that is there unless `force`. */
int output_target_open(struct output_target *t, const char *name, bool force, struct error *e);
int output_target_open_parent(struct output_target *t, struct error *e);
void output_target_close(struct output_target *t);

/* Are `need` bytes free there? */
int output_target_check_space(const struct output_target *t, uint64_t need, struct error *e);
/* A name beside the target that nobody has. Caller frees. The modes are left to the umask. */
char *output_target_temporary_name(const struct output_target *t, const char *what);
/* "cannot write TARGET/NAME: " and errno's reason; -1. */
int output_target_write_error(const struct output_target *t, const char *name, struct error *e);

/* Puts what is called `made` in the folder `from` in place; with `force` it changes places with
 * what was there, or that is moved aside, and back on failure. Then *old is the name of what is to
 * be removed, in the folder *old_folder; else NULL. */
int output_target_rename_into_place(const struct output_target *t, int from, const char *made,
                                    char **old, int *old_folder, struct error *e);
/* Afterwards: syncs the folder, removes the old. Frees it. */
int output_target_remove_replaced(const struct output_target *t, char *old, int old_folder,
                                  struct error *e);

#endif
