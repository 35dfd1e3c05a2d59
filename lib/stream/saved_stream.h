/* Random access to a saved stream: any element of any tensor and vector, in any order. A
 * saved_stream owns what it returns until saved_stream_close. After saved_stream_open, several
 * threads may use it at the same time. */
#ifndef TV_SAVED_STREAM_H
#define TV_SAVED_STREAM_H

#include "byte_input.h"
#include "header.h"

struct saved_stream;

/* Maps the file and checks the whole stream. Input that cannot be mapped (a pipe) is first copied
 * to an unlinked file in the folder `spool`. `model_kinds`: accepts only a stream of one model, of
 * one of these kinds (KIND_... or-ed), with one vector per tensor and weights of 1; 0: accepts any
 * stream. NULL on error. */
struct saved_stream *saved_stream_open(const char *path, const char *spool, int model_kinds,
                                       struct error *e);
/* The same for a stream that arrives through a pipe, which `title` names in messages. It is copied.
 */
struct saved_stream *saved_stream_open_pipe(struct byte_input *in, const char *title,
                                            const char *spool, int model_kinds, struct error *e);
void saved_stream_close(struct saved_stream *s);
/* An error if the file has changed since it was opened. */
int saved_stream_check_unchanged(const struct saved_stream *s, struct error *e);
const struct header *saved_stream_header(const struct saved_stream *s);
/* Tensor i with the values of its tensor header, including weights and attributes. */
const struct tensor *saved_stream_tensor(const struct saved_stream *s, size_t i);
/* XXH3-64 of the whole stream, which is read for it. */
uint64_t saved_stream_fingerprint(const struct saved_stream *s);
/* Copies n elements of vector k of tensor i, from flat index `first` on, in the vector's dtype. For
 * a dtype of less than a byte, `first` and n must be whole bytes. */
void saved_stream_read_elements(const struct saved_stream *s, size_t i, size_t k, size_t first,
                                size_t n, void *to);

#endif
