/* The models that one document of a configuration refers to, and their names in streams: the last
 * component of the path, with parent folders in front where two models would have the same name
 * ("run1.checkpoint-500").
 * Everything belongs to the arena that is passed in. */
#ifndef TV_INPUT_MODELS_H
#define TV_INPUT_MODELS_H

#include "merge_config.h"
#include "name_index.h"

/* A model on disk, or the result of another document. */
struct input_model {
    const char *path;          /* as in the configuration, without leading "./" and trailing '/' */
    const char *plain_operand; /* the path as an operand of a filter, without NAME= */
    const char *name;          /* in streams */
    const char *operand;       /* of a filter: PATH or NAME=PATH; NAME= for a result */
    const struct merge_config *document; /* whose result it is; NULL: a model on disk */
    bool only_tokenizer;                 /* it is not merged */
};

struct input_models {
    size_t n_inputs;
    struct input_model *items;
    size_t capacity;
    struct name_index paths;
};

/* Lists all models of document `c` of the file, each once. */
int input_models_list_and_name(struct input_models *all, const struct merge_config_file *f,
                               const struct merge_config *c, struct arena *a, struct error *e);
/* The input that the configuration refers to as `model`, in any spelling of its path. It must be
 * one that was collected. */
const struct input_model *input_models_find(const struct input_models *all, const char *model,
                                            struct arena *a);

#endif
