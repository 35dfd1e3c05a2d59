/* The Python classes and functions that torch.save writes for a dict of tensors. None of them is
 * ever called; pickle_torch.h builds the objects that they would make. Any other class or function
 * makes opaque objects. */
#ifndef TV_PICKLE_GLOBALS_H
#define TV_PICKLE_GLOBALS_H

#include "dtype.h"

#include <stddef.h>

enum pickle_global_kind {
    PICKLE_MAKE_DICT,
    PICKLE_MAKE_DEFAULT_DICT, /* its first argument makes missing values */
    PICKLE_MAKE_TENSOR,
    PICKLE_MAKE_TYPED_TENSOR, /* with a dtype after the arguments of PICKLE_MAKE_TENSOR */
    PICKLE_MAKE_PARAMETER,
    PICKLE_MAKE_SUBCLASS, /* calls one of the three above, for a class */
    PICKLE_MAKE_UNREADABLE_TENSOR,
    PICKLE_MAKE_SIZE,
    PICKLE_TENSOR_CLASS,
    PICKLE_STORAGE_CLASS,
    PICKLE_DTYPE
};

struct pickle_global {
    const char *module, *name;
    enum pickle_global_kind kind;
    enum dtype dtype;    /* of PICKLE_STORAGE_CLASS and PICKLE_DTYPE */
    size_t element_size; /* of a PICKLE_STORAGE_CLASS whose dtype is DTYPE_NONE, in bytes */
    const char *what;    /* of PICKLE_MAKE_UNREADABLE_TENSOR: what its tensors are */
};

/* NULL if it is none of them. Neither name is terminated. */
const struct pickle_global *pickle_globals_find(const char *module, size_t module_length,
                                                const char *name, size_t name_length);

#endif
