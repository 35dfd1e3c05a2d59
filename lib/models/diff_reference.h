/* The model or stream that another one is compared with, with random access: a checkpoint, or a
 * saved stream of any kind.
 *
 * A diff_reference owns what its functions return until diff_reference_close. After
 * diff_reference_open several threads may use it at once. */
#ifndef TV_DIFF_REFERENCE_H
#define TV_DIFF_REFERENCE_H

#include "header.h"

struct diff_reference;

/* `operand` is a path, "name=path" for a model, or "-" for a stream on standard input; `spool` and
 * `tool` as for model_source_open. NULL on error. */
struct diff_reference *diff_reference_open(const char *operand, const char *spool, const char *tool,
                                           struct error *e);
void diff_reference_close(struct diff_reference *r);
/* An error if a file has changed since it was opened. */
int diff_reference_check_unchanged(const struct diff_reference *r, struct error *e);
const struct header *diff_reference_header(const struct diff_reference *r);
/* The index of the tensor with that name; -1 if there is none. */
long diff_reference_find_tensor(const struct diff_reference *r, const char *name);
/* Tensor i, with its weights. */
const struct tensor *diff_reference_tensor(const struct diff_reference *r, size_t i);
/* Copies n elements of vector k of tensor i, from flat index `first` on, in their dtype. */
void diff_reference_read_elements(const struct diff_reference *r, size_t i, size_t k, size_t first,
                                  size_t n, void *to);
/* Tells the kernel that these elements of all vectors will not be read again soon. */
void diff_reference_release_pages(const struct diff_reference *r, size_t i, size_t first, size_t n);

#endif
