/* Temporary storage for bytes: in memory up to a limit, otherwise in an unlinked temporary file.
 * A spool owns its bytes until the next spool_reserve or spool_free. Threads may read and write at
 * the same time if they access different bytes. */
#ifndef TV_SPOOL_H
#define TV_SPOOL_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>

struct spool;

/* `folder`, or if it is NULL, $TMPDIR, or /var/tmp if that is not set. */
const char *spool_folder_or_default(const char *folder);
/* An error if the disk of the folder, which may be NULL as above, does not have this space. */
int spool_check_disk_space(const char *folder, uint64_t size, struct error *e);
/* A spool that holds up to `memory` bytes in memory; `folder` may be NULL, as above. */
struct spool *spool_new(size_t memory, const char *folder);
/* Provides `size` bytes and discards earlier contents; fails if the disk does not have the space.
 */
int spool_reserve(struct spool *s, uint64_t size, struct error *e);
int spool_write_at(struct spool *s, uint64_t offset, const void *bytes, size_t size,
                   struct error *e);
int spool_read_at(const struct spool *s, uint64_t offset, void *bytes, size_t size,
                  struct error *e);
/* The address of `size` bytes at `offset`; NULL if they are in the file. */
void *spool_memory_at(struct spool *s, uint64_t offset, size_t size);
void spool_free(struct spool *s);
/* The descriptor of a new unlinked temporary file, open for reading and writing; -1 on error.
 * `folder` as above. */
int spool_open_temporary_file(const char *folder, struct error *e);

#endif
