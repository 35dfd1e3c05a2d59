/* A model that an operand names: a checkpoint, or a saved stream of weights, told apart by
 * content. An input owns what it returns until input_close; after input_open it may be used by
 * several threads at once. */
#ifndef TV_INPUT_H
#define TV_INPUT_H

#include "ckpt.h"
#include "filter.h"

struct input;

/* `operand` is "path" or "name=path"; temporary files go to `spool`; what a person should know is
 * said on standard error under the name of `tool`. NULL on error. */
struct input *input_open(const char *operand, const char *spool, const char *tool, struct error *e);
void input_close(struct input *in);
/* The path behind "name=path"; an operand with a slash before its '=' is all path. */
const char *input_path(const char *operand);
const char *input_name(const struct input *in);
uint64_t input_fingerprint(const struct input *in);
/* The checkpoint behind it, with its config and tokenizer files; NULL for a saved stream. */
const struct ckpt *input_ckpt(const struct input *in);

/* Tensors, sorted bytewise by name. */
size_t input_count(const struct input *in);
const struct ckpt_tensor *input_tensor(const struct input *in, size_t i);
long input_find(const struct input *in, const char *name);

/* What tensor i is called in the model itself: a cut gives layers other numbers. */
const char *input_own_name(const struct input *in, size_t i);

/* n elements of tensor i from flat index `first` on, as stored. */
void input_read(const struct input *in, size_t i, size_t first, size_t n, void *to);
/* The same as F32 or F64, rounded to `rounding` on the way unless that is DTYPE_NONE. */
void input_read_f32(const struct input *in, size_t i, size_t first, size_t n, enum dtype rounding,
                    float *to);
void input_read_f64(const struct input *in, size_t i, size_t first, size_t n, enum dtype rounding,
                    double *to);
/* XXH3-64 of n stored elements. */
uint64_t input_hash(const struct input *in, size_t i, size_t first, size_t n);
/* These elements will not be read again soon: their pages may go. */
void input_done_with(const struct input *in, size_t i, size_t first, size_t n);

/* How many layers the whole model has in a stack. */
long input_layers(const struct input *in, const char *stack, size_t length);
/* The stack that has `layers` layers (0: any), of several one that is not for images or sound;
 * NULL if there is none. */
const char *input_text_stack(const struct input *in, long layers, size_t *length);

/* Of a stack there are left the layers from ... to - 1, called `first` and so on. */
struct input_cut {
    const char *stack;
    size_t length;
    long whole; /* layers of the stack in the whole model */
    long from, to, first;
};
/* Once, before the tensors are used. What is outside the stack stays. */
void input_cut(struct input *in, const char *stack, size_t length, long from, long to, long first);
const struct input_cut *input_how_cut(const struct input *in); /* NULL: the model is whole */

#endif
