/* The progress of a run on standard error: a line that is redrawn on a terminal, or lines for a
 * script, as tv(1) describes them. Every function accepts NULL, which means that no progress is
 * shown. */
#ifndef TV_PROGRESS_H
#define TV_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress;
/* `tensors` and `bytes` are the totals. Returns NULL if standard error is not a terminal, unless
 * lines are wanted there. */
struct progress *progress_new(size_t tensors, uint64_t bytes, bool wants_lines);
void progress_add_bytes(struct progress *p, uint64_t bytes);
/* Counts a tensor that is complete. */
void progress_add_tensor(struct progress *p);
/* Shows that work continues while no bytes are processed. */
void progress_redraw(struct progress *p);
/* Erases the line, or prints the last one. */
void progress_free(struct progress *p);

#endif
