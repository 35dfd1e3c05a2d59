/* The models that one document of a configuration refers to, and their names in streams: the last
 * component of the path, with parent folders in front where two models would have the same name
 * ("run1.checkpoint-500"). A model that a slice lists several times is several inputs: "math",
 * "math.2". As in mergekit, the base is the source that is written as base_model is.
 * Everything belongs to the arena that is passed in. */
#ifndef TV_INPUT_MODELS_H
#define TV_INPUT_MODELS_H

#include "merge_config.h"
#include "name_index.h"

/* A model on disk, or the result of another document. */
struct input_model {
    const char *path;          /* as in the configuration, without leading "./" and trailing '/' */
    size_t occurrence;         /* 1: the second time that a slice lists the path, and so on */
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

/* Lists all models of document `c` of the file. With `resolve_cache` the operands of models in the
 * Hugging Face cache are the paths of their snapshots. */
int input_models_list_and_name(struct input_models *all, const struct merge_config_file *f,
                               const struct merge_config *c, bool resolve_cache, struct arena *a,
                               struct error *e);
/* The input that the configuration refers to as `model`, in any spelling of its path. It must be
 * one that was collected. */
const struct input_model *input_models_find(const struct input_models *all, const char *model,
                                            struct arena *a);

/* The base_model of a slice as it is written; NULL if there is none. */
const char *input_models_base_of_slice(const struct merge_config *c, const struct config_slice *s);
/* The input for a source of a slice. */
const struct input_model *input_models_find_source(const struct input_models *all,
                                                   const struct config_model_entry *source,
                                                   struct arena *a);

#endif
