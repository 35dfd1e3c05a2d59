/* Printing the text form of a stream (share/text.md) to standard output; text_form_parse.h parses
 * it. */
#ifndef TV_TEXT_FORM_PRINT_H
#define TV_TEXT_FORM_PRINT_H

#include "filter.h"

/* Prints the lines of the header, without tensors. */
void text_form_print_header(const struct header *h);
/* Print the lines before a tensor's vectors, and before the rows of vector k. `entry` is the
 * tensor's manifest entry. */
void text_form_print_tensor(const struct tensor *t, const struct tensor *entry);
void text_form_print_vector(const struct header *h, const struct tensor *t,
                            const struct tensor *entry, size_t k);
/* Prints "2x3", or "scalar". */
void text_form_print_shape(const struct tensor *t);
/* Prints the full hashes of the models that the run has read; in a sink's close. */
void text_form_print_hashes(const struct stage *s);

#endif
