/* The model or stream that another one is compared with, with random access: a checkpoint, or a
 * saved stream of any kind.
 *
 * A reference_model owns what its functions return until reference_model_close. After
 * reference_model_open several threads may use it at once. */
#ifndef TV_REFERENCE_MODEL_H
#define TV_REFERENCE_MODEL_H

#include "header.h"

struct reference_model;

/* `operand` is a path, "name=path" for a model, or "-" for a stream on standard input; `spool` and
 * `tool` as for model_source_open. NULL on error. */
struct reference_model *reference_model_open(const char *operand, const char *spool,
                                             const char *tool, struct error *e);
void reference_model_close(struct reference_model *r);
const struct header *reference_model_header(const struct reference_model *r);
/* The index of the tensor with that name; -1 if there is none. */
long reference_model_find_tensor(const struct reference_model *r, const char *name);
/* Tensor i, with its weights. */
const struct tensor *reference_model_tensor(const struct reference_model *r, size_t i);
/* Copies n elements of vector k of tensor i, from flat index `first` on, in their dtype. */
void reference_model_read_elements(const struct reference_model *r, size_t i, size_t k,
                                   size_t first, size_t n, void *to);
/* Tells the kernel that these elements of all vectors will not be read again soon. */
void reference_model_release_pages(const struct reference_model *r, size_t i, size_t first,
                                   size_t n);

#endif
