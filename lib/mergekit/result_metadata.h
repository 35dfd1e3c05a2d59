/* How the result of a document is stored: whose config it gets, and in which dtype. */
#ifndef TV_RESULT_METADATA_H
#define TV_RESULT_METADATA_H

#include "pipeline_builder.h"

/* The model on disk that lends config and tokenizer; NULL if the documents use each other in a
 * circle. */
const char *result_metadata_model(const struct pipeline_builder *b, const struct merge_config *c);
/* What the document says of the dtype, and in what its result would stand in its file. */
enum dtype result_metadata_configured_dtype(const struct merge_config *c);
enum dtype result_metadata_dtype(const struct pipeline_builder *b, const struct merge_config *c);

#endif
