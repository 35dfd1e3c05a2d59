/* Notes to the user about a checkpoint that can be read but is unusual, such as a tensor that the
 * index does not list. The caller of ckpt_open chooses the stream that collects them. */
#ifndef TV_NOTES_H
#define TV_NOTES_H

#include <stdio.h>

/* Writes one line; control characters become '?'. Does nothing if `notes` is NULL. */
void notes_print(FILE *notes, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
