/* The base model that task vectors are added to: which of its tensors belongs to which tensor of
 * the stream, and their elements. An onto owns its model until onto_close; after onto_open it may
 * be used by several threads at once. */
#ifndef TV_ONTO_H
#define TV_ONTO_H

#include "input.h"

struct onto;

/* Opens the model and finds for every tensor of the stream the base's, under its base name; of
 * MODEL[from:to], among the layers in that range. The shapes are the same, but an embedding in the
 * stream may be a cut of the base's. A model other than the one that the stream was made against is
 * refused unless `another`. */
struct onto *onto_open(const struct stage *s, const char *operand, bool another,
                       const struct header *h, struct error *e);
void onto_close(struct onto *o);
const struct input *onto_model(const struct onto *o);

/* Of tensor `index` of the stream: the base's tensor; its elements where the stream's from `first`
 * on lie, rounded to the stream's rounding. */
const struct ckpt_tensor *onto_tensor(const struct onto *o, size_t index);
void onto_read_f32(const struct onto *o, size_t index, size_t first, size_t n, float *to);
void onto_read_f64(const struct onto *o, size_t index, size_t first, size_t n, double *to);
/* They will not be read again soon. */
void onto_done_with(const struct onto *o, size_t index, size_t first, size_t n);
/* Is tensor i of the base under none of the stream's, nor is its name taken by one? */
bool onto_is_left_over(const struct onto *o, size_t i);

#endif
