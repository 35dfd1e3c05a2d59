/* The capacity of a pipe: the bytes that it holds between a writer and a reader. */
#ifndef TV_PIPE_CAPACITY_H
#define TV_PIPE_CAPACITY_H

/* Makes a pipe hold 1 MiB instead of the usual 64 KiB, so that its two processes wait for each
 * other less often. Either end will do, and the other process may be any program. Nothing changes
 * if the descriptor is no pipe, or the system does not allow that much. */
void pipe_capacity_enlarge(int fd);

#endif
