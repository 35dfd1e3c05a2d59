/* Writing a stream. What is given to a writer stays the caller's; it keeps no pointer to it.
 * The file descriptor stays the caller's too, until writer_close. */
#ifndef TV_WRITER_H
#define TV_WRITER_H

#include "record.h"

struct writer;

/* `what` names the output in messages ("standard output"). */
struct writer *writer_open(int fd, const char *what);
/* Magic and header leave at once: stages downstream check them before any payload comes. */
int writer_write_header(struct writer *w, const struct header *h, struct error *e);
int writer_write_tensor(struct writer *w, const struct tensor *t, struct error *e);
/* A bin: one vector's bytes of one block. */
int writer_write_payload(struct writer *w, const void *bytes, size_t size, struct error *e);
/* The tensor's trailer, after its last block. */
int writer_write_trailer(struct writer *w, struct error *e);
/* The end record with these full hashes, and the hash of the stream. */
int writer_write_end(struct writer *w, size_t n_hashes, const char **models, const uint64_t *hashes,
                     struct error *e);
/* An error record, if the stream stands where an object may start; otherwise nothing. */
void writer_write_error(struct writer *w, const char *stage, const char *sentence);
/* Has the reader of our pipe gone? */
bool writer_reader_gone(const struct writer *w);
/* Flushes, checks, closes the descriptor, frees. NULL is allowed. */
int writer_close(struct writer *w, struct error *e) __attribute__((warn_unused_result));

#endif
