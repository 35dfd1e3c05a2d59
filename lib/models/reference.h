/* What something is compared with: a saved stream of any kind, or a model, read at random. A
 * reference owns what it returns until reference_close; after reference_open it may be used by
 * several threads at once. */
#ifndef TV_REFERENCE_H
#define TV_REFERENCE_H

#include "header.h"

struct reference;

/* `operand` is a path, "name=path" for a model, or "-" for a stream on standard input. As
 * model_source_open otherwise. */
struct reference *reference_open(const char *operand, const char *spool, const char *tool,
                                 struct error *e);
void reference_close(struct reference *r);
const struct header *reference_header(const struct reference *r);
/* Index of the tensor of that name; -1 if there is none. */
long reference_find(const struct reference *r, const char *name);
/* Tensor i with weights. */
const struct tensor *reference_tensor(const struct reference *r, size_t i);
/* n elements of vector k of tensor i from flat index `first` on, in their dtype. */
void reference_read(const struct reference *r, size_t i, size_t k, size_t first, size_t n,
                    void *to);
/* These elements of all its vectors will not be read again soon. */
void reference_release_pages(const struct reference *r, size_t i, size_t first, size_t n);

#endif
