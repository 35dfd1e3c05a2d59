/* Files and folders, as those who publish need them: written whole, synced, removed. Unless they
 * say otherwise the functions return 0, or -1 with the reason in errno. */
#ifndef TV_FS_H
#define TV_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fills `suffix` with letters and digits that nobody else has drawn. */
void fs_random_suffix(char suffix[7]);
/* All of the bytes, at `offset`. */
int fs_write_at(int fd, uint64_t offset, const void *bytes, size_t size);
/* Makes an empty file `size` bytes long, its room on the disk taken where that can be done. */
int fs_preallocate(int fd, uint64_t size);
/* `size` more bytes of a file have been written, `written` in all. Now and then, and when it is
 * `complete`, it sets out for the disk, while the rest is computed: a sync at the end finds little
 * to do. */
void fs_start_writeback(int fd, uint64_t written, size_t size, bool complete);
/* Syncs a file of the folder. */
int fs_sync_file(int folder, const char *name);
/* A file of these bytes, synced, in place of an older one or of none. */
int fs_replace_file(int folder, const char *name, const void *bytes, size_t size);
/* The whole of a small file, terminated by a zero byte; NULL if there is none. Caller frees. */
char *fs_read_file(int folder, const char *name, size_t *size);
/* XXH3-64 of a file's bytes from `from` on; *size: how many they are. */
int fs_hash_file(int folder, const char *name, uint64_t from, uint64_t *size, uint64_t *hash);
/* Removes a file, or a folder with all that is in it. */
int fs_remove_tree(int parent, const char *name);

#endif
