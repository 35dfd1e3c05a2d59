/* The modules of architectures that consist of several, such as a text decoder and a vision tower,
 * by mergekit's names, and the tensors of each. All other models are one module. */
#ifndef TV_MODEL_MODULES_H
#define TV_MODEL_MODULES_H

#include "error.h"
#include "mem.h"

#include <stdbool.h>

#define MODEL_MODULES_MAX      3
#define MODEL_MODULE_MAX_GLOBS 3

struct model_module {
    const char *name;                          /* NULL ends the list of modules */
    const char *globs[MODEL_MODULE_MAX_GLOBS]; /* of its tensors; none: all that no other module
                                                  of the architecture has */
};

struct model_modules {
    const char *types[3]; /* model_type in config.json */
    bool one_count;       /* config.json has no number of layers for each module */
    struct model_module modules[MODEL_MODULES_MAX + 1];
};

/* The modules of models of this type; NULL if they are one. */
const struct model_modules *model_modules_find(const char *type);
const struct model_module *model_modules_find_module(const struct model_modules *m,
                                                     const char *name);
/* "text_decoder, multi_modal_projector, vision_tower" */
const char *model_modules_list_names(const struct model_modules *m, struct arena *a);
/* These open a model, and print its notes after `tool`. What they find is in the arena: the
 * model_type in config.json, NULL if there is none, and the prefix of the names of the module's
 * layers, without its last dot, NULL if it has none. */
int model_modules_read_type(const char *model, const char *tool, const char **type, struct arena *a,
                            struct error *e);
int model_modules_find_stack(const struct model_modules *m, const struct model_module *module,
                             const char *model, const char *tool, const char **stack,
                             struct arena *a, struct error *e);

#endif
