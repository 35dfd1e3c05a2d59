/* Ranges of a model's layers, as operands name them: MODEL[from:to] has the layers from ... to - 1
 * of the text stack (or another), and all that is outside it. */
#ifndef TV_LAYER_SLICE_H
#define TV_LAYER_SLICE_H

#include "model_source.h"

struct layer_slice_options {
    const char *stack;  /* what the names of the stack's tensors begin with; NULL: the text stack */
    long first_layer;   /* number of the first layer; -1: the one that it has in the model */
    bool without_range; /* an operand without a range means all layers, as a range */
};

/* Does the operand end with a range? */
bool layer_slice_is_given(const char *operand);
/* model_source_open for an operand that may have a range. */
struct model_source *layer_slice_open(const char *operand, const struct layer_slice_options *o,
                                      const char *spool, const char *tool, struct error *e);
/* What the history says of it: the model's name, and the range that its operand asked for. */
const char *layer_slice_describe(const struct model_source *in, const char *operand,
                                 struct arena *a);
/* Of several slices one after another, which tensors come from one of them: its layers of the stack
 * that is cut; embeddings and other stacks of layers from the first; all else from the last. */
bool layer_slice_contributes(const char *name, const char *stack, size_t length, bool first,
                             bool last);
/* Sets layer and layers, in the slice, of the tensors of the stack that was cut. */
void layer_slice_set_layer_numbers(const struct model_source *in, struct header *h);

#endif
