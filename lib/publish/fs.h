/* Files and folders as the publishing of a checkpoint needs them: written completely, synced,
 * replaced atomically, removed. Files are named by an open folder and a name in it.
 *
 * Unless stated otherwise the functions return 0, or -1 with the reason in errno. */
#ifndef TV_FS_H
#define TV_FS_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fills `suffix` with six random letters and digits. */
void fs_random_suffix(char suffix[7]);
/* Writes all of the bytes at `offset`. */
int fs_write_at(int fd, uint64_t offset, const void *bytes, size_t size);
/* Makes an empty file `size` bytes long, and allocates them on the disk where the file system can.
 */
int fs_preallocate(int fd, uint64_t size);
/* To be called after every write: `size` more bytes of a file have been written, `written` in all.
 * Every 32 MiB, and when the file is `complete`, the kernel is told to start writing to the disk,
 * so that the sync at the end finds little to do. */
void fs_start_writeback(int fd, uint64_t written, size_t size, bool complete);
int fs_sync_file(int folder, const char *name);
/* Creates or atomically replaces a file with these contents, synced. */
int fs_replace_file(int folder, const char *name, const void *bytes, size_t size);
/* The contents of a file, followed by a zero byte; NULL if it cannot be read or is above 1 GiB. The
 * caller frees. */
char *fs_read_file(int folder, const char *name, size_t *size);
/* XXH3-64 of a file's bytes from offset `from` on; *size is their number. */
int fs_hash_file(int folder, const char *name, uint64_t from, uint64_t *size, uint64_t *hash);
/* Opens a folder for reading its entries, from its first one on; NULL on error. */
DIR *fs_open_folder(int folder);
/* Removes a file, or a folder with everything in it. */
int fs_remove_tree(int parent, const char *name);

#endif
