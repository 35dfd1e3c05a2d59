/* One line on the terminal: how many tensors and bytes have passed, how fast, how long the rest
 * will take. Every function takes NULL for "nobody is watching". */
#ifndef TV_PROGRESS_H
#define TV_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

struct progress;
/* NULL unless standard error is a terminal. So many tensors and bytes will pass. */
struct progress *progress_new(size_t tensors, uint64_t bytes);
void progress_add(struct progress *p, uint64_t bytes);
/* A tensor has passed as a whole. */
void progress_add_tensor(struct progress *p);
/* Nothing has passed yet, but work is being done. */
void progress_tick(struct progress *p);
/* Clears the line. */
void progress_free(struct progress *p);

#endif
