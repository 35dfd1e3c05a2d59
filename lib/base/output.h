/* Standard output as text. A full disk often shows only when what was printed is written out. */
#ifndef TV_OUTPUT_H
#define TV_OUTPUT_H

#include "error.h"

/* Everything printed has arrived; -1 if not. */
int output_finish(struct error *e);
/* A process that would exit with 0 looks at its output first, and exits with 1 and one sentence of
 * `name` if that has not arrived. */
void output_check_at_exit(const char *name);

#endif
