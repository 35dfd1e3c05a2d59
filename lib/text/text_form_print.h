/* The lines of a stream's text form (share/text.md) on standard output; text_form.h reads them. */
#ifndef TV_TEXT_FORM_PRINT_H
#define TV_TEXT_FORM_PRINT_H

#include "filter.h"

void text_form_print_header(const struct header *h);
/* The lines above a tensor's vectors, and above the rows of vector k; `announced` is the tensor as
 * the manifest has it. */
void text_form_print_tensor(const struct tensor *t, const struct tensor *announced);
void text_form_print_vector(const struct header *h, const struct tensor *t,
                            const struct tensor *announced, size_t k);
/* "2x3", or "scalar". */
void text_form_print_shape(const struct tensor *t);
/* The full hashes of the models, at the end; in a sink's close. */
void text_form_print_hashes(const struct stage *s);

#endif
