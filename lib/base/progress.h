/* A progress line on the terminal: tensors and bytes done, speed, and time left. Every function
 * accepts NULL, which means that no progress is shown. */
#ifndef TV_PROGRESS_H
#define TV_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

struct progress;
/* `tensors` and `bytes` are the totals. Returns NULL if standard error is not a terminal. */
struct progress *progress_new(size_t tensors, uint64_t bytes);
void progress_add_bytes(struct progress *p, uint64_t bytes);
/* Counts a tensor that is complete. */
void progress_add_tensor(struct progress *p);
/* Shows that work continues while no bytes are processed. */
void progress_redraw(struct progress *p);
/* Erases the line. */
void progress_free(struct progress *p);

#endif
