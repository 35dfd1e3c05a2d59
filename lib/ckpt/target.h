/* Where a checkpoint goes: a name in a folder, which must be free or may be replaced, and what is
 * made beside it and put there in one go. A target owns what it points to until target_close. */
#ifndef TV_TARGET_H
#define TV_TARGET_H

#include "error.h"
#include "mem.h"

#include <stdbool.h>
#include <stdint.h>

enum publish_form {
    PUBLISH_FOLDER,      /* OUT or OUT/ */
    PUBLISH_SAFETENSORS, /* OUT.safetensors: one file and nothing beside it */
    PUBLISH_TAR,         /* OUT.tar, or - for standard output */
    PUBLISH_TAR_ZST      /* OUT.tar.zst */
};

/* What form a target's name asks for. */
enum publish_form publish_form_of(const char *target);

struct target {
    enum publish_form form;
    bool force;
    char *name;       /* as sentences call it */
    const char *base; /* its last part */
    int parent;       /* the folder in which it lies; -1: it is standard output */
    struct arena arena;
};

/* Refuses an ending that promises a file which is not written. The folder is opened by
 * target_open_folder, which refuses a target that is there unless `force`. */
int target_open(struct target *t, const char *name, bool force, struct error *e);
int target_open_folder(struct target *t, struct error *e);
void target_close(struct target *t);

/* Are `need` bytes free there? */
int target_check_space(const struct target *t, uint64_t need, struct error *e);
/* A name beside the target that nobody has. Caller frees. The modes are left to the umask. */
char *target_beside(const struct target *t, const char *what);
/* "cannot write TARGET/NAME: " and errno's reason; -1. */
int target_write_error(const struct target *t, const char *name, struct error *e);

/* Puts what is called `made` in the folder `from` in place; with `force` it changes places with
 * what was there, or that is moved aside, and back on failure. Then *old is the name of what is to
 * be removed, in the folder *old_folder; else NULL. */
int target_put(const struct target *t, int from, const char *made, char **old, int *old_folder,
               struct error *e);
/* Afterwards: syncs the folder, removes the old. Frees it. */
int target_settle(const struct target *t, char *old, int old_folder, struct error *e);

#endif
