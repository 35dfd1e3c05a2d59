/* A saved stream at random: any tensor, any vector, any element, in any order. A saved owns what
 * it returns until saved_stream_close; after saved_stream_open it may be used by several threads at
 * once. */
#ifndef TV_SAVED_STREAM_H
#define TV_SAVED_STREAM_H

#include "header.h"

struct saved_stream;

/* Maps the file and checks it from magic to hash. What cannot be mapped (a pipe) is copied to an
 * unlinked file in `spool` first. `as_model`: only a stream of weights with one vector a tensor and
 * no weights other than 1 will do. NULL on error. */
struct saved_stream *saved_stream_open(const char *path, const char *spool, bool as_model,
                                       struct error *e);
void saved_stream_close(struct saved_stream *s);
const struct header *saved_stream_header(const struct saved_stream *s);
/* Tensor i as its own header says it, with weights and attributes. */
const struct tensor *saved_stream_tensor(const struct saved_stream *s, size_t i);
/* XXH3-64 of the whole stream; reads it. */
uint64_t saved_stream_fingerprint(const struct saved_stream *s);
/* `n` elements of vector k of tensor i from flat index `first` on, in that vector's wire dtype.
 * For dtypes of less than a byte: first and n cover whole bytes. */
void saved_stream_read(const struct saved_stream *s, size_t i, size_t k, size_t first, size_t n,
                       void *to);

#endif
