/* A selection of the layers of a model. */
#ifndef TV_SELECTED_LAYERS_H
#define TV_SELECTED_LAYERS_H

#include <stddef.h>

/* The layers of one stack that were selected: from ... to - 1, renumbered from first_number on. */
struct selected_layers {
    const char *prefix; /* of the stack */
    size_t length;      /* of the prefix */
    long total;         /* layers of the stack in the whole model */
    long from, to, first_number;
};

#endif
