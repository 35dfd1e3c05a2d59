/* The models that a document of a configuration speaks of, under names that differ: the last part
 * of a path, with parent folders in front where two end alike ("run1.checkpoint-500"). */
#ifndef TV_MERGE_INPUT_H
#define TV_MERGE_INPUT_H

#include "merge_config.h"

struct merge_input {
    const char *path;          /* as it was written, without slashes at its end */
    const char *plain_operand; /* the same as an operand that is no name=path */
    const char *name;          /* in streams */
    const char *operand;       /* for filters: file, or name=file; name= where it is a result */
    const struct merge_config
        *document; /* the document whose result it is; NULL: a model on disk */
};

struct merge_inputs {
    size_t n_inputs;
    struct merge_input *items;
};

/* All models of document `c` of the file. */
int merge_input_collect(struct merge_inputs *all, const struct merge_config_file *f,
                        const struct merge_config *c, struct arena *a, struct error *e);
/* The party that a configuration's text means; it must be one. */
const struct merge_input *merge_input_find(const struct merge_inputs *all, const char *model,
                                           struct arena *a);

#endif
