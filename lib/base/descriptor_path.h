/* Paths that name an open descriptor of this process: /dev/stdout, /dev/fd/3, /proc/self/fd/3, and
 * symbolic links to them by any name. Such a link is not a file that could be replaced. */
#ifndef TV_DESCRIPTOR_PATH_H
#define TV_DESCRIPTOR_PATH_H

/* The descriptor, which may be closed; -1 if the path names none. A link counts if it belongs to
 * this user or to the owner of its folder, since others may put links into a shared folder. */
int descriptor_path_find(const char *path);

/* /dev/stdin or /dev/stdout for "-", which is what a user writes; otherwise the path itself. */
const char *descriptor_path_to_read(const char *path);
const char *descriptor_path_to_write(const char *path);

#endif
