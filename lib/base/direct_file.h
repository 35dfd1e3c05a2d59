/* Writes a preallocated file past the page cache (O_DIRECT): whole pages, gathered in chunks, by
 * threads of its own, while the callers compute. Nothing that is in the cache is evicted, and no
 * page is allocated, copied and flushed. What does not fill whole pages goes through the cache.
 *
 * A direct_file owns its descriptors, buffers and threads until direct_file_close. */
#ifndef TV_DIRECT_FILE_H
#define TV_DIRECT_FILE_H

#include <stddef.h>
#include <stdint.h>

struct direct_file;

/* Takes over `fd`, which is open for writing; `folder` and `name` name the same file. The bytes
 * from `begin` to `end` will be written. If they are few, or the file system has no O_DIRECT, all
 * goes through the page cache. */
struct direct_file *direct_file_open(int fd, int folder, const char *name, uint64_t begin,
                                     uint64_t end);
/* Writes bytes at `offset`: in any order, from any thread, each byte once. 0, or -1 with the reason
 * in errno, also for bytes that came earlier. */
int direct_file_write(struct direct_file *f, uint64_t offset, const void *bytes, size_t size);
/* Waits until all has been written, or drops what fills no chunk. 0, or -1 with the reason in
 * errno. NULL is allowed. */
int direct_file_close(struct direct_file *f);

#endif
