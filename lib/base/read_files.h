/* The files and folders that this process has opened for reading, by device and inode, so that none
 * of them is replaced by the output. */
#ifndef TV_READ_FILES_H
#define TV_READ_FILES_H

#include <stdbool.h>
#include <sys/stat.h>

void read_files_add(const struct stat *st);
/* Until it is called with false, what this thread opens is not added. */
void read_files_ignore(bool ignore);
bool read_files_contains(const struct stat *st);

#endif
