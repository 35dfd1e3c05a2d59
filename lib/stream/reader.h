/* Reading a stream, record by record, with every check that share/stream.md asks of a reader.
 * A reader owns its header; what reader_next_tensor returns lives in the arena it was given. The
 * file descriptor stays the caller's. */
#ifndef TV_READER_H
#define TV_READER_H

#include "record.h"

struct reader;

/* Reads magic and header. `what` names the input in messages ("standard input"). NULL on error. */
struct reader *reader_open(int fd, const char *what, struct error *e);
void reader_close(struct reader *r);
const struct header *reader_header(const struct reader *r);

/* The next tensor's header: 1, or 0 at the end of the stream, -1 on error. The tensor before it
 * must have been read whole. */
int reader_next_tensor(struct reader *r, struct arena *a, struct tensor *t, struct error *e);
/* The next bin of the tensor, block by block, in each block vector by vector, straight into `to`.
 * The last one reads the tensor's trailer too and checks it. */
int reader_read_payload(struct reader *r, void *to, size_t size, struct error *e);
/* Where in the input the payload read last starts, counted from the magic. */
uint64_t reader_payload_offset(const struct reader *r);
/* After the end: what the end record said. */
const struct end_record *reader_end_record(const struct reader *r);
/* Streams whose writer left checksums out: true as soon as one was missing. */
bool reader_lacks_checksums(const struct reader *r);

/* Makes reader_stop possible; -1 if the system has no means left. */
int reader_make_stoppable(struct reader *r);
/* From another thread than the one that reads: whoever waits for input fails. */
void reader_stop(struct reader *r);
/* Makes it possible to read the tensors more than once: a regular file is read in place, anything
 * else is copied to an unlinked file in `folder` (NULL: $TMPDIR, else /var/tmp) first. Before the
 * first reader_next_tensor. `copied` says which it was. */
int reader_make_rewindable(struct reader *r, const char *folder, bool *copied, struct error *e);
/* Back to the first tensor. */
int reader_rewind(struct reader *r, struct error *e);

#endif
