/* Translates one document of a configuration to a pipeline, with the pipelines of the documents
 * whose results it uses inside.
 * Both functions return -1 with the builder's error set. */
#ifndef TV_DOCUMENT_TO_PIPELINE_H
#define TV_DOCUMENT_TO_PIPELINE_H

#include "pipeline_builder.h"

/* Starts a document: checks the names of its method and parameters, and lists its models. */
int document_to_pipeline_start(struct pipeline_builder *b, const struct merge_config *c);
/* Adds the commands of the prepared document to `pipeline`. It outputs either merged weights, and
 * *base is NULL; or a merged task vector, and *base is the model on disk to add it to. */
int document_to_pipeline_add_commands(struct pipeline_builder *b, struct pipeline *pipeline,
                                      const struct input_model **base);

#endif
