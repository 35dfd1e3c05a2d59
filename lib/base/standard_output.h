/* Standard output as text: the width of the terminal, and checking that what was printed was
 * written. A full disk is often reported only when the buffer is flushed. */
#ifndef TV_STANDARD_OUTPUT_H
#define TV_STANDARD_OUTPUT_H

#include "error.h"

/* Columns of the terminal that standard output is; 0 if it is none, or they are not known. */
int standard_output_columns(void);
/* Flushes standard output; -1 if anything printed could not be written. */
int standard_output_flush(struct error *e);
/* Makes a process that exits with 0 flush its output first: if that fails, it prints one sentence
 * that begins with `name` and exits with 1. Borrows `name`. */
void standard_output_flush_at_exit(const char *name);

#endif
