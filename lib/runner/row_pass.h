/* A stage of scope row on a tensor with long rows (held_rows.h). */
#ifndef TV_ROW_PASS_H
#define TV_ROW_PASS_H

#include "runner_state.h"

/* Are the rows of the tensor that arrives at stage s longer than a block? */
bool row_pass_is_needed(const struct runner *r, size_t s);
/* After the stage's begin_tensor: holds its input, runs its rounds and its transform row by row.
 * Later passes begin after the stage. */
int row_pass_run(struct runner *r, size_t s, struct error *e);

#endif
