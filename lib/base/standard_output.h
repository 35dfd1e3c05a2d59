/* Standard output as text. A full disk often shows only when what was printed is written out. */
#ifndef TV_STANDARD_OUTPUT_H
#define TV_STANDARD_OUTPUT_H

#include "error.h"

/* Everything printed has arrived; -1 if not. */
int standard_output_flush(struct error *e);
/* A process that would exit with 0 looks at its output first, and exits with 1 and one sentence of
 * `name` if that has not arrived. */
void standard_output_flush_at_exit(const char *name);

#endif
