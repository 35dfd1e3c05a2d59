/* The model below an adapter, as the adapter sees it. */
#ifndef TV_ADAPTER_BASE_H
#define TV_ADAPTER_BASE_H

#include "ckpt_tensor.h"

struct adapter_base {
    const void *model;
    const char *name; /* in messages */
    size_t n_tensors;
    const struct ckpt_tensor *(*tensor)(const void *model, size_t i);
    /* The index of the tensor of that name; -1 if there is none. */
    long (*find_tensor)(const void *model, const char *name);
    /* n elements of tensor i, from flat index `first` on, as they are stored; on any thread. */
    void (*read_f64)(const void *model, size_t i, size_t first, size_t n, double *to);
    const char *config; /* the text of config.json; NULL: there is none */
    size_t config_size;
};

#endif
