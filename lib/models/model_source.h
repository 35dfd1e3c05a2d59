/* A model that an operand names: a checkpoint, or a saved stream of weights, told apart by
 * content. An input owns what it returns until model_source_close; after model_source_open it may
 * be used by several threads at once. */
#ifndef TV_MODEL_SOURCE_H
#define TV_MODEL_SOURCE_H

#include "ckpt.h"
#include "filter.h"

struct model_source;

/* `operand` is "path" or "name=path"; temporary files go to `spool`; what a person should know is
 * said on standard error under the name of `tool`. NULL on error. */
struct model_source *model_source_open(const char *operand, const char *spool, const char *tool,
                                       struct error *e);
void model_source_close(struct model_source *in);
/* The path behind "name=path"; an operand with a slash before its '=' is all path. */
const char *model_source_path_of_operand(const char *operand);
const char *model_source_name(const struct model_source *in);
uint64_t model_source_fingerprint(const struct model_source *in);
/* The checkpoint behind it, with its config and tokenizer files; NULL for a saved stream. */
const struct ckpt *model_source_checkpoint(const struct model_source *in);

/* Tensors, sorted bytewise by name. */
size_t model_source_tensor_count(const struct model_source *in);
const struct ckpt_tensor *model_source_tensor(const struct model_source *in, size_t i);
long model_source_find_tensor(const struct model_source *in, const char *name);

/* What tensor i is called in the model itself: a cut gives layers other numbers. */
const char *model_source_stored_name(const struct model_source *in, size_t i);

/* n elements of tensor i from flat index `first` on, as stored. */
void model_source_read_stored(const struct model_source *in, size_t i, size_t first, size_t n,
                              void *to);
/* The same as F32 or F64, rounded to `rounding` on the way unless that is DTYPE_NONE. */
void model_source_read_f32(const struct model_source *in, size_t i, size_t first, size_t n,
                           enum dtype rounding, float *to);
void model_source_read_f64(const struct model_source *in, size_t i, size_t first, size_t n,
                           enum dtype rounding, double *to);
/* XXH3-64 of n stored elements. */
uint64_t model_source_hash_elements(const struct model_source *in, size_t i, size_t first,
                                    size_t n);
/* These elements will not be read again soon: their pages may go. */
void model_source_release_pages(const struct model_source *in, size_t i, size_t first, size_t n);

/* How many layers the whole model has in a stack. */
long model_source_count_layers(const struct model_source *in, const char *stack, size_t length);
/* The stack that has `layers` layers (0: any), of several one that is not for images or sound;
 * NULL if there is none. */
const char *model_source_find_text_stack(const struct model_source *in, long layers,
                                         size_t *length);

/* Of a stack there are left the layers from ... to - 1, called `first` and so on. */
struct model_source_select_layers {
    const char *stack;
    size_t length;
    long whole; /* layers of the stack in the whole model */
    long from, to, first;
};
/* Once, before the tensors are used. What is outside the stack stays. */
void model_source_select_layers(struct model_source *in, const char *stack, size_t length,
                                long from, long to, long first);
const struct model_source_select_layers *
model_source_selected_layers(const struct model_source *in); /* NULL: the model is whole */

#endif
