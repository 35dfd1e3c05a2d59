/* What the history of a stream says about its task vectors. The results belong to the history. */
#ifndef TV_VECTOR_HISTORY_H
#define TV_VECTOR_HISTORY_H

#include "header.h"

/* Is `tool` a step of the stream, or of a stream that was joined into it? */
bool vector_history_has_step(const struct history *h, const char *tool);
/* The last step that may have changed the elements of the task vectors since they were extracted;
 * NULL: none. */
const char *vector_history_find_change(const struct history *h);

#endif
