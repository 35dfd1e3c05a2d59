/* A saved stream of weights with one vector per tensor, used as a model: any tensor, any element,
 * in any order. A saved owns what it returns until saved_close; after saved_open it may be used by
 * several threads at once. */
#ifndef TV_SAVED_H
#define TV_SAVED_H

#include "header.h"

struct saved;

/* Maps the file, checks it from magic to hash. What cannot be mapped (a pipe) is copied to an
 * unlinked file in `spool` first. NULL on error. */
struct saved *saved_open(const char *path, const char *spool, struct error *e);
void saved_close(struct saved *s);
const struct header *saved_header(const struct saved *s);
/* XXH3-64 of the whole stream. */
uint64_t saved_fingerprint(const struct saved *s);
/* `n` elements of tensor i from flat index `first` on, in the tensor's wire dtype. */
void saved_read(const struct saved *s, size_t i, size_t first, size_t n, void *to);

#endif
