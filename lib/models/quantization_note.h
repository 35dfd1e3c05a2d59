/* The note to the user that differences of models contain their quantization errors. */
#ifndef TV_QUANTIZATION_NOTE_H
#define TV_QUANTIZATION_NOTE_H

#include "header.h"

/* Prints one line to standard error under the name `tool` if models of the headers are quantized.
 * `what` contains the errors, in the plural: "task vectors". `b` may be NULL. */
void quantization_note_print(const char *tool, const char *what, const struct header *a,
                             const struct header *b);

#endif
