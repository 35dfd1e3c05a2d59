/* Writing a stream to a file descriptor. A writer borrows its arguments only during a call; it
 * closes the descriptor in writer_close. */
#ifndef TV_WRITER_H
#define TV_WRITER_H

#include "record.h"

struct writer;

/* `what` names the output in messages ("standard output"). */
struct writer *writer_open(int fd, const char *what);
/* Writes magic and header immediately, so that stages downstream can check them before any payload
 * arrives. */
int writer_write_header(struct writer *w, const struct header *h, struct error *e);
int writer_write_tensor(struct writer *w, const struct tensor *t, struct error *e);
/* Writes a bin: the bytes of one vector in one block. */
int writer_write_payload(struct writer *w, const void *bytes, size_t size, struct error *e);
/* Writes the tensor's trailer, after its last block. */
int writer_write_tensor_trailer(struct writer *w, struct error *e);
/* Writes the end record, with n_hashes full hashes of models, and the hash of the stream. */
int writer_write_end_record(struct writer *w, size_t n_hashes, const char **models,
                            const uint64_t *hashes, struct error *e);
/* Writes an error record, unless a failed write may have ended inside an object. */
void writer_write_error_record(struct writer *w, const char *stage, const char *sentence);
/* True if the reader of the output pipe has closed it. */
bool writer_is_reader_gone(const struct writer *w);
/* Flushes and closes the descriptor, reports errors of both, frees the writer. NULL is allowed. */
int writer_close(struct writer *w, struct error *e) __attribute__((warn_unused_result));

#endif
