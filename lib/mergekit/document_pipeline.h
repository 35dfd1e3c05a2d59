/* What one document of a configuration means: a pipeline from its models to their merge, with those
 * of the documents whose results it uses inside. */
#ifndef TV_DOCUMENT_PIPELINE_H
#define TV_DOCUMENT_PIPELINE_H

#include "pipeline_builder.h"

/* Begins with a document: are its method and parameters known, and who takes part in it? */
int document_pipeline_prepare(struct pipeline_builder *b, const struct merge_config *c);
/* A stream of the weights that it makes, and *base NULL; but where one base on disk is added to all
 * at the end, task vectors that still need *base. */
int document_pipeline_build(struct pipeline_builder *b, struct pipeline *line,
                            const struct merge_input **base);

#endif
