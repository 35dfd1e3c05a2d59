/* Writer of a checkpoint as a tar archive, plain or compressed, from its first byte to its last:
 * the auxiliary files, then the shards one after another. It can also write a shard alone. Data
 * that come too early wait in memory.
 *
 * A tar_writer keeps pointers to nothing but its layout. It owns its descriptor until
 * tar_writer_finish or tar_writer_free_unfinished. */
#ifndef TV_TAR_WRITER_H
#define TV_TAR_WRITER_H

#include "shard_layout.h"

struct tar_writer;

enum tar_writer_form {
    TAR_WRITER_TAR,
    TAR_WRITER_TAR_ZST,
    TAR_WRITER_ONLY_SHARD /* no archive: the bytes of the only shard */
};

/* `target` names the output in messages. NULL on error, when the descriptor is still the
 * caller's. */
struct tar_writer *tar_writer_open(int fd, enum tar_writer_form form, const char *target,
                                   struct error *e);
/* Writes an auxiliary file, before the first data or after the last. */
int tar_writer_add_file(struct tar_writer *w, const char *name, const void *bytes, size_t size,
                        struct error *e);
/* Sets the layout of the data, which must live as long as the writer. */
void tar_writer_set_layout(struct tar_writer *w, const struct shard_layout *layout);
/* Writes bytes at an offset in the data of all shards: in any order, from any thread, each byte
 * once. */
int tar_writer_write_data(struct tar_writer *w, uint64_t total_offset, const void *bytes,
                          size_t size, struct error *e);
/* Writes the end blocks and closes the descriptor; missing data are an error. *size is the number
 * of bytes that were written. Frees w on success. */
int tar_writer_finish(struct tar_writer *w, uint64_t *size, struct error *e);
/* Closes the descriptor without end blocks, so that readers see a truncated archive. Frees w; NULL
 * is allowed. */
void tar_writer_free_unfinished(struct tar_writer *w);

#endif
