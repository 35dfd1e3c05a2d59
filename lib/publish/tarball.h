/* A checkpoint as a tar archive, plain or compressed, written from its first byte to its last: the
 * small files, then the shards one after another, each begun by the first of its bytes. Data that
 * come too early wait in memory. A tarball keeps no pointer to what it is given but to its shards;
 * its descriptor is its own until tarball_finish or tarball_abandon. */
#ifndef TV_TARBALL_H
#define TV_TARBALL_H

#include "shards.h"

struct tarball;

/* `what` names the output in messages. NULL on error, when the descriptor is still the caller's. */
struct tarball *tarball_open(int fd, bool compressed, const char *what, struct error *e);
/* A small file, before the first data or after the last. */
int tarball_file(struct tarball *t, const char *name, const void *bytes, size_t size,
                 struct error *e);
/* The files that the data belong to; they must live as long as the tarball. */
void tarball_plan(struct tarball *t, const struct shards *shards);
/* Bytes at `at` in the data of all shards. Any order, any thread, each byte once. */
int tarball_write(struct tarball *t, uint64_t at, const void *bytes, size_t size, struct error *e);
/* All data must have come: the end blocks, and the descriptor is closed. Frees t if it succeeds. */
int tarball_finish(struct tarball *t, struct error *e);
/* Leaves it without its end blocks. NULL is allowed. */
void tarball_abandon(struct tarball *t);

#endif
