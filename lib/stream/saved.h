/* A saved stream at random: any tensor, any vector, any element, in any order. A saved owns what
 * it returns until saved_close; after saved_open it may be used by several threads at once. */
#ifndef TV_SAVED_H
#define TV_SAVED_H

#include "header.h"

struct saved;

/* Maps the file and checks it from magic to hash. What cannot be mapped (a pipe) is copied to an
 * unlinked file in `spool` first. `as_model`: only a stream of weights with one vector a tensor and
 * no weights other than 1 will do. NULL on error. */
struct saved *saved_open(const char *path, const char *spool, bool as_model, struct error *e);
void saved_close(struct saved *s);
const struct header *saved_header(const struct saved *s);
/* Tensor i as its own header says it, with weights and attributes. */
const struct tensor *saved_tensor(const struct saved *s, size_t i);
/* XXH3-64 of the whole stream; reads it. */
uint64_t saved_fingerprint(const struct saved *s);
/* `n` elements of vector k of tensor i from flat index `first` on, in that vector's wire dtype.
 * For dtypes of less than a byte: first and n cover whole bytes. */
void saved_read(const struct saved *s, size_t i, size_t k, size_t first, size_t n, void *to);

#endif
