/* Ranges of layers in operands: MODEL[from:to] is a model with only the layers from ... to - 1 of
 * its text stack (or another one), and with everything outside that stack. */
#ifndef TV_LAYER_SLICE_H
#define TV_LAYER_SLICE_H

#include "model_source.h"

struct layer_slice_options {
    const char *stack;  /* prefix of the stack's tensor names; NULL: the text stack */
    long first_layer;   /* new number of the first layer; -1: the one that it has in the model */
    bool without_range; /* an operand without a range means all layers; false: it is not sliced */
    bool accepts_standard_input;             /* the operand "-" */
    const struct model_source *adapter_base; /* model_source_open_on; NULL: no adapter alone */
    const char *adapter_base_operand;
};

/* The range at the end of the operand: "[from:to]"; NULL if it has none. */
const char *layer_slice_find_range_suffix(const char *operand);
/* Is the operand "-" or "name=-", with or without a range? */
bool layer_slice_is_standard_input(const char *operand);
/* Like model_source_open, for an operand that may have a range. */
struct model_source *layer_slice_open(const char *operand, const struct layer_slice_options *o,
                                      const char *spool, const char *tool, struct error *e);
/* "NAME" or "NAME[from:to]", for the history. */
const char *layer_slice_format_name_with_range(const struct model_source *m, const char *operand,
                                               struct arena *a);
/* Does the first, last or an inner slice of several contribute this tensor to the whole? Layers of
 * the sliced stack come from every slice, embeddings, what vision towers have before their layers,
 * and other layer stacks from the first one, all other tensors from the last one. */
bool layer_slice_contributes_tensor(const char *name, const char *prefix, size_t length,
                                    bool is_first, bool is_last);
/* Sets `layer` and `layers` of the tensors of the sliced stack, counted within the slice. */
void layer_slice_set_layer_numbers(const struct model_source *m, struct header *h);

#endif
