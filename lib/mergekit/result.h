/* How the result of a document is stored: whose config it gets, and in which dtype. */
#ifndef TV_RESULT_H
#define TV_RESULT_H

#include "pipeline_builder.h"

/* The model on disk that lends config and tokenizer; NULL if the documents use each other in a
 * circle. */
const char *result_lender(const struct pipeline_builder *b, const struct config *c);
/* What the document says of the dtype, and in what its result would stand in its file. */
enum dtype result_said_dtype(const struct config *c);
enum dtype result_dtype(const struct pipeline_builder *b, const struct config *c);

#endif
