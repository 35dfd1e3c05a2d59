/* What something is compared with: a saved stream of any kind, or a model, read at random. A
 * reference owns what it returns until reference_model_close; after reference_model_open it may be
 * used by several threads at once. */
#ifndef TV_REFERENCE_MODEL_H
#define TV_REFERENCE_MODEL_H

#include "header.h"

struct reference_model;

/* `operand` is a path, "name=path" for a model, or "-" for a stream on standard input. As
 * model_source_open otherwise. */
struct reference_model *reference_model_open(const char *operand, const char *spool,
                                             const char *tool, struct error *e);
void reference_model_close(struct reference_model *r);
const struct header *reference_model_header(const struct reference_model *r);
/* Index of the tensor of that name; -1 if there is none. */
long reference_model_find_tensor(const struct reference_model *r, const char *name);
/* Tensor i with weights. */
const struct tensor *reference_model_tensor(const struct reference_model *r, size_t i);
/* n elements of vector k of tensor i from flat index `first` on, in their dtype. */
void reference_model_read_elements(const struct reference_model *r, size_t i, size_t k,
                                   size_t first, size_t n, void *to);
/* These elements of all its vectors will not be read again soon. */
void reference_model_release_pages(const struct reference_model *r, size_t i, size_t first,
                                   size_t n);

#endif
