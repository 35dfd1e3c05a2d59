/* The payload of one tensor, kept for later: block by block in memory that may be given back before
 * the others, or, above a limit, in an unlinked temporary file. A hold owns what it keeps until
 * hold_clear; different blocks may be written and read at once. */
#ifndef TV_HOLD_H
#define TV_HOLD_H

#include "chunks.h"
#include "error.h"
#include "spool.h"
#include "tensor.h"

#include <stdint.h>

struct hold;

/* `memory`: bytes of a tensor above which it goes to the file. Chunks and file are borrowed; holds
 * may share the chunks at any time, the file one after another. */
struct hold *hold_new(struct chunks *chunks, struct spool *file, size_t memory);
void hold_free(struct hold *h);
/* The bytes of a tensor, and the most that its blocks take in chunks. */
uint64_t hold_size(const struct tensor *t);
uint64_t hold_size_in_chunks(const struct tensor *t);
/* Forgets what was there and prepares for a tensor, checked on the disk where it goes there. */
int hold_reserve(struct hold *h, const struct tensor *t, struct error *e);
/* Makes room for a block, waiting until no more than `limit` bytes of the chunks are taken. */
void hold_make_room(struct hold *h, const struct tensor *t, size_t block, size_t limit);
/* Where vector k of a block lies in memory; NULL if it is in the file. */
void *hold_at(const struct hold *h, const struct tensor *t, size_t block, size_t k);
/* Vector k of a block to the file, and from wherever it is its first `size` bytes. */
int hold_write(struct hold *h, const struct tensor *t, size_t block, size_t k, const void *bytes,
               struct error *e);
int hold_read(const struct hold *h, const struct tensor *t, size_t block, size_t k, void *bytes,
              size_t size, struct error *e);
/* Nobody will want the block again. */
void hold_give_back(struct hold *h, size_t block);
void hold_clear(struct hold *h);

#endif
