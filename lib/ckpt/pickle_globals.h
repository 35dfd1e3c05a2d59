/* The Python classes and functions that a pickle may refer to: those that torch.save writes for a
 * dict of tensors. None of them is ever called; each stands for something that pickle_torch.h
 * builds. Any other global is an error. */
#ifndef TV_PICKLE_GLOBALS_H
#define TV_PICKLE_GLOBALS_H

#include "dtype.h"

#include <stddef.h>

enum pickle_global_kind {
    PICKLE_MAKE_DICT,
    PICKLE_MAKE_TENSOR,
    PICKLE_MAKE_PARAMETER,
    PICKLE_MAKE_SIZE,
    PICKLE_MAKE_DEVICE,
    PICKLE_STORAGE_CLASS,
    PICKLE_DTYPE
};

struct pickle_global {
    const char *module, *name;
    enum pickle_global_kind kind;
    enum dtype dtype; /* of PICKLE_STORAGE_CLASS and PICKLE_DTYPE */
};

/* NULL if the global is not allowed. Neither name is terminated. */
const struct pickle_global *pickle_globals_find(const char *module, size_t module_length,
                                                const char *name, size_t name_length);

#endif
