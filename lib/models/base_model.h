/* The base model that task vectors are added to: which of its tensors belongs to which tensor of
 * the stream, and their elements. An onto owns its model until base_model_close; after
 * base_model_open it may be used by several threads at once. */
#ifndef TV_BASE_MODEL_H
#define TV_BASE_MODEL_H

#include "model_source.h"

struct base_model;

/* Opens the model and finds for every tensor of the stream the base's, under its base name; of
 * MODEL[from:to], among the layers in that range. The shapes are the same, but an embedding in the
 * stream may be a cut of the base's. A model other than the one that the stream was made against is
 * refused unless `another`. */
struct base_model *base_model_open(const struct stage *s, const char *operand, bool another,
                                   const struct header *h, struct error *e);
void base_model_close(struct base_model *o);
const struct model_source *base_model_source(const struct base_model *o);

/* Of tensor `index` of the stream: the base's tensor; its elements where the stream's from `first`
 * on lie, rounded to the stream's rounding. */
const struct ckpt_tensor *base_model_matching_tensor(const struct base_model *o, size_t index);
void base_model_read_f32(const struct base_model *o, size_t index, size_t first, size_t n,
                         float *to);
void base_model_read_f64(const struct base_model *o, size_t index, size_t first, size_t n,
                         double *to);
/* They will not be read again soon. */
void base_model_release_pages(const struct base_model *o, size_t index, size_t first, size_t n);
/* Is tensor i of the base under none of the stream's, nor is its name taken by one? */
bool base_model_tensor_is_unused(const struct base_model *o, size_t i);

#endif
