/* The lines of a stream's text form (share/text.md) on standard output; script.h reads them. */
#ifndef TV_TRANSCRIPT_H
#define TV_TRANSCRIPT_H

#include "filter.h"

void transcript_header(const struct header *h);
/* The lines above a tensor's vectors, and above the rows of vector k; `announced` is the tensor as
 * the manifest has it. */
void transcript_tensor(const struct tensor *t, const struct tensor *announced);
void transcript_vector(const struct header *h, const struct tensor *t,
                       const struct tensor *announced, size_t k);
/* "2x3", or "scalar". */
void transcript_shape(const struct tensor *t);
/* The full hashes of the models, at the end; in a sink's close. */
void transcript_hashes(const struct stage *s);

#endif
