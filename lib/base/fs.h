/* Files and folders as the publishing of a checkpoint needs them: written completely, synced,
 * replaced atomically, removed. Files are named by an open folder and a name in it; a name that is
 * a symbolic link is never followed, for in a shared folder anybody may have put it there.
 *
 * Unless stated otherwise the functions return 0, or -1 with the reason in errno. */
#ifndef TV_FS_H
#define TV_FS_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Fills `suffix` with six random letters and digits. */
void fs_random_suffix(char suffix[7]);
/* Writes all of the bytes at `offset`. */
int fs_write_at(int fd, uint64_t offset, const void *bytes, size_t size);
/* Moves the `size` bytes at `offset` of a file that is open for reading and writing `by` bytes
 * toward its end, which grows. */
int fs_move_bytes(int fd, uint64_t offset, uint64_t size, uint64_t by);
/* Makes an empty file `size` bytes long, and allocates them on the disk where the file system can.
 */
int fs_preallocate(int fd, uint64_t size);
/* Call it after every write of `size` bytes to a file, of which `written` have been written in all.
 * Every 32 MiB, and when the file is `complete`, the kernel starts to write to the disk, so that
 * the sync at the end has little to do. */
void fs_start_writeback(int fd, uint64_t written, size_t size, bool complete);
/* Opens a file that exists for reading and writing. */
int fs_open_for_writing(int folder, const char *name);
/* Creates or atomically replaces a file with these contents, synced. */
int fs_replace_file(int folder, const char *name, const void *bytes, size_t size);
/* Opens a regular file for reading; EINVAL or ELOOP if it is something else, such as a pipe, which
 * may have no end. Fills in *st. */
int fs_open_regular_file(int folder, const char *name, struct stat *st);
/* Does the reason in errno mean that a file is missing, or no regular file? */
bool fs_is_missing(int error_number);
/* The contents of a regular file, followed by a zero byte; NULL with the reason in errno if it
 * cannot be read or is above 1 GiB. The caller frees. */
char *fs_read_file(int folder, const char *name, size_t *size);
/* XXH3-64 of a file's bytes from offset `from` on; *size is their number. */
int fs_hash_file(int folder, const char *name, uint64_t from, uint64_t *size, uint64_t *hash);
/* The same of at most `most` bytes of an open file. */
int fs_hash_range(int fd, uint64_t from, uint64_t most, uint64_t *size, uint64_t *hash);
/* Opens a folder for reading its entries, from its first one on; NULL on error. */
DIR *fs_open_folder(int folder);
/* Opens a folder of this name, which must belong to the user `owner`; else EPERM. */
int fs_open_own_folder(int parent, const char *name, uid_t owner);
/* The user who owns what this process creates in a folder, on its file system. */
uid_t fs_own_user(int folder);
/* Is this name a regular file of that user? */
bool fs_is_own_file(int folder, const char *name, uid_t owner);
/* The longest name that a folder's file system accepts, in bytes. */
size_t fs_name_max(int folder);
/* Bytes that temporary files may still take on the disk of `fd`: what is free, but for a reserve of
 * 1/64 of the disk, at most 256 MiB. UINT64_MAX if that is unknown. */
uint64_t fs_available_bytes(int fd);
/* Counts `size` more bytes of a temporary file in *written; false if they filled that disk, which
 * is looked at every 16 MiB. */
bool fs_has_room(int fd, uint64_t *written, size_t size);
/* Removes a file, or a folder with everything in it. */
int fs_remove_tree(int parent, const char *name);

#endif
