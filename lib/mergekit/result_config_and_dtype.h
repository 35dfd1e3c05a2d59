/* The config, tokenizer and dtype of a document's result. */
#ifndef TV_RESULT_CONFIG_AND_DTYPE_H
#define TV_RESULT_CONFIG_AND_DTYPE_H

#include "pipeline_builder.h"

/* The path of the model on disk whose config.json and tokenizer the result gets: its base or first
 * model, or that one's, and so on. NULL if the documents refer to each other in a cycle. */
const char *result_config_and_dtype_find_model(const struct pipeline_builder *b,
                                               const struct merge_config *c);
/* The dtype of a checkpoint of the result: out_dtype, else dtype, else that of the model above. */
enum dtype result_config_and_dtype_find_dtype(const struct pipeline_builder *b,
                                              const struct merge_config *c);

#endif
