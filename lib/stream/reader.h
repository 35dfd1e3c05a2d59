/* Reading a stream record by record, with every check that share/stream.md requires of a reader.
 * Compressed input (byte_input.h) is decompressed.
 * A reader owns its header; a tensor lives in the arena given to reader_next_tensor. The caller
 * closes the file descriptor. */
#ifndef TV_READER_H
#define TV_READER_H

#include "record.h"

struct reader;

/* Reads magic and header. `what` names the input in messages ("standard input"). NULL on error. */
struct reader *reader_open(int fd, const char *what, struct error *e);
void reader_close(struct reader *r);
const struct header *reader_header(const struct reader *r);

/* Reads the header of the next tensor: 1, or 0 at the end of the stream, -1 on error. All payload
 * of the tensor before it must have been read. */
int reader_next_tensor(struct reader *r, struct arena *a, struct tensor *t, struct error *e);
/* Reads the next bin of the tensor, of `size` bytes, directly into `to`: block by block, and in
 * each block vector by vector. The last call also reads and checks the tensor's trailer. */
int reader_read_payload(struct reader *r, void *to, size_t size, struct error *e);
/* Byte offset, from the magic, of the payload that was read last. */
uint64_t reader_payload_offset(const struct reader *r);
/* The end record, after reader_next_tensor has returned 0. */
const struct end_record *reader_end_record(const struct reader *r);
/* True if the writer omitted a checksum in the part that has been read. */
bool reader_lacks_checksums(const struct reader *r);

/* Makes reader_stop available; -1 if there is no file descriptor left for it, or the input is
 * compressed. */
int reader_make_stoppable(struct reader *r);
/* Called from another thread: makes a call that waits for input fail. */
void reader_stop(struct reader *r);
/* Makes reader_rewind available; call it before the first reader_next_tensor. A regular file is
 * read again in place; other input is first copied to an unlinked file in `folder` (NULL: $TMPDIR,
 * or /var/tmp), and *copied becomes true. */
int reader_make_rewindable(struct reader *r, const char *folder, bool *copied, struct error *e);
/* Returns to the first tensor. */
int reader_rewind(struct reader *r, struct error *e);

#endif
