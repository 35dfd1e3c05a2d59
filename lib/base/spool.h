/* Bytes kept for later: in memory up to a limit, beyond it in an unlinked temporary file.
 * A spool owns its bytes until the next spool_reserve or spool_free. Several threads may write and
 * read at once where they touch different bytes. */
#ifndef TV_SPOOL_H
#define TV_SPOOL_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>

struct spool;

/* The folder, or where it is NULL, $TMPDIR, else /var/tmp. */
const char *spool_folder_or_default(const char *folder);
/* `folder` NULL: as above. */
struct spool *spool_new(size_t memory, const char *folder);
/* Room for `size` bytes in all, checked on the disk where it goes there; forgets what was there. */
int spool_reserve(struct spool *s, uint64_t size, struct error *e);
int spool_write(struct spool *s, uint64_t offset, const void *bytes, size_t size, struct error *e);
int spool_read(const struct spool *s, uint64_t offset, void *bytes, size_t size, struct error *e);
/* Where `size` bytes at `offset` lie in memory; NULL if they are in the file. */
void *spool_memory_at(struct spool *s, uint64_t offset, size_t size);
void spool_free(struct spool *s);
/* An unlinked temporary file, open for reading and writing; -1 on error. `folder` as above. */
int spool_open_temporary_file(const char *folder, struct error *e);

#endif
