/* Elements of tensors as text (share/text.md, "Rows"): decimal numbers, or hexadecimal bytes for
 * dtypes that are not numeric. Printing and parsing are inverse, bit for bit. */
#ifndef TV_ELEMENT_TEXT_H
#define TV_ELEMENT_TEXT_H

#include "dtype.h"
#include "error.h"

#include <stdio.h>

/* True if elements of this dtype are written as hexadecimal bytes. */
bool element_text_is_hex(enum dtype d);
/* Prints n elements from flat index `first` on, one line per row of `columns` elements; all in one
 * line if an element is smaller than a byte. A number is the shortest decimal that parses as the
 * same element. */
void element_text_print_rows(FILE *out, enum dtype d, size_t columns, size_t first, size_t n,
                             const void *from);
/* Parses a number as an element of `d`, which is not written as hexadecimal bytes. */
int element_text_parse(const char *word, enum dtype d, void *to, struct error *e);

#endif
