/* What a model_source consists of, for the files that implement it: model_source.c, and
 * model_source_open.c for opening and closing. */
#ifndef TV_MODEL_SOURCE_FIELDS_H
#define TV_MODEL_SOURCE_FIELDS_H

#include "adapter_deltas.h"
#include "ckpt.h"
#include "saved_stream.h"
#include "selected_layers.h"

struct model_source {
    char *name;
    struct ckpt *ckpt;          /* this or ... */
    struct saved_stream *saved; /* ... this, or ... */
    struct model_source *base;  /* ... this with what an adapter adds: all of its layers */
    struct adapter_deltas *deltas;
    char *config;         /* of the base, which the deltas borrow; NULL: none */
    bool borrows_content; /* ckpt, saved, base and deltas are another model_source's */
    bool is_unlinked;     /* the file has no name */
    size_t n;
    struct ckpt_tensor *tensors;      /* sorted; NULL: all tensors of the checkpoint */
    size_t *stored_indexes;           /* of these, in the checkpoint, stream or base */
    struct computed_tensor *computed; /* [tensor], without `read` if it is stored; NULL: all are */
    struct selected_layers selected;
    struct arena arena; /* for the names of renumbered layers */
};

struct listed_tensor {
    struct ckpt_tensor tensor;
    size_t stored_index;
};
/* Replaces the list of tensors. Sorts `listed`. */
void model_source_set_tensors(struct model_source *m, struct listed_tensor *listed, size_t n);

#endif
