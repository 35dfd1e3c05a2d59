/* The base model that task vectors are added to: finds the tensor of the base for each tensor of
 * the stream, and reads its elements.
 *
 * A base_model owns its model_source until base_model_close. After base_model_open several threads
 * may use it at once. `index` is always a tensor of the stream. */
#ifndef TV_BASE_MODEL_H
#define TV_BASE_MODEL_H

#include "model_source.h"
#include "vocabulary.h"

struct base_model;

/* Opens the model and matches the stream's tensors by their base names; for MODEL[from:to] among
 * the layers in that range. Shapes must agree, except that an embedding in the stream may be
 * smaller than the base's. A model other than the one that was subtracted is an error unless
 * `accept_other`. The rows of its embedding and LM head are moved to the vocabulary, which must
 * outlive it, unless `v` is NULL; rows that it lacks come from the other models of the stream. NULL
 * on error. */
struct base_model *base_model_open(const struct stage *s, const char *operand, bool accept_other,
                                   struct vocabulary *v, const struct header *h, struct error *e);
void base_model_close(struct base_model *b);
const struct model_source *base_model_source(const struct base_model *b);

const struct ckpt_tensor *base_model_matching_tensor(const struct base_model *b, size_t index);
/* Reads the base's elements for n elements of the stream's tensor, from flat index `first` on,
 * rounded to the stream's input_rounding. */
void base_model_read_f32(const struct base_model *b, size_t index, size_t first, size_t n,
                         float *to);
/* The sum of the base's elements and n elements `tau` of dtype `from`, rounded once to dtype `to`:
 * in F32, or in F64 if the base's tensor is stored in F64. */
void base_model_add(const struct base_model *b, size_t index, size_t first, size_t n,
                    enum dtype from, const void *tau, enum dtype to, void *sum);
/* Tells the kernel that these elements will not be read again soon. */
void base_model_release_pages(const struct base_model *b, size_t index, size_t first, size_t n);
/* Does no tensor of the stream match tensor i of the base or have its name? */
bool base_model_tensor_is_unused(const struct base_model *b, size_t i);

#endif
