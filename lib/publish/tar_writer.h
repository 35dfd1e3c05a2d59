/* A checkpoint as a tar archive, plain or compressed, written from its first byte to its last: the
 * small files, then the shards one after another, each begun by the first of its bytes. Data that
 * come too early wait in memory. A tarball keeps no pointer to what it is given but to its shards;
 * its descriptor is its own until tar_writer_finish or tar_writer_abandon. */
#ifndef TV_TAR_WRITER_H
#define TV_TAR_WRITER_H

#include "shard_layout.h"

struct tar_writer;

/* `what` names the output in messages. NULL on error, when the descriptor is still the caller's. */
struct tar_writer *tar_writer_open(int fd, bool compressed, const char *what, struct error *e);
/* A small file, before the first data or after the last. */
int tar_writer_add_file(struct tar_writer *t, const char *name, const void *bytes, size_t size,
                        struct error *e);
/* The files that the data belong to; they must live as long as the tarball. */
void tar_writer_set_layout(struct tar_writer *t, const struct shard_layout *shards);
/* Bytes at `at` in the data of all shards. Any order, any thread, each byte once. */
int tar_writer_write_data(struct tar_writer *t, uint64_t at, const void *bytes, size_t size,
                          struct error *e);
/* All data must have come: the end blocks, and the descriptor is closed. Frees t if it succeeds. */
int tar_writer_finish(struct tar_writer *t, struct error *e);
/* Leaves it without its end blocks. NULL is allowed. */
void tar_writer_abandon(struct tar_writer *t);

#endif
