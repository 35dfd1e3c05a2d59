/* The models that a document of a configuration speaks of, under names that differ: the last part
 * of a path, with parent folders in front where two end alike ("run1.checkpoint-500"). */
#ifndef TV_MERGE_INPUT_H
#define TV_MERGE_INPUT_H

#include "config.h"

struct merge_input {
    const char *path;            /* as it was written, without slashes at its end */
    const char *file;            /* the same as an operand that is no name=path */
    const char *name;            /* in streams */
    const char *operand;         /* for filters: file, or name=file; name= where it is a result */
    const struct config *result; /* the document whose result it is; NULL: a model on disk */
};

struct parties {
    size_t n;
    struct merge_input *items;
};

/* All models of document `c` of the file. */
int parties_find(struct parties *all, const struct config_file *f, const struct config *c,
                 struct arena *a, struct error *e);
/* The party that a configuration's text means; it must be one. */
const struct merge_input *parties_get(const struct parties *all, const char *model,
                                      struct arena *a);

#endif
