/* One line on the terminal: how much of the payload has passed, how fast, how long it will take.
 * Every function takes NULL for "nobody is watching". */
#ifndef TV_PROGRESS_H
#define TV_PROGRESS_H

#include <stdint.h>

struct progress;
/* NULL unless standard error is a terminal. `total` bytes will pass. */
struct progress *progress_new(uint64_t total);
void progress_add(struct progress *p, uint64_t bytes);
/* Nothing has passed yet, but work is being done. */
void progress_tick(struct progress *p);
/* Clears the line. */
void progress_free(struct progress *p);

#endif
