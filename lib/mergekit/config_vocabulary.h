/* The vocabulary that a document asks for, as the option --vocabulary of filters. */
#ifndef TV_CONFIG_VOCABULARY_H
#define TV_CONFIG_VOCABULARY_H

#include "pipeline_builder.h"

/* Sets b->vocabulary. It stays NULL if the document has no key for it, or if no model has a
 * tokenizer.json and the tokenizers of all models are the same files: then no row moves. */
int config_vocabulary_set(struct pipeline_builder *b);
/* The path of the model whose tokenizer the result gets; NULL: the document chooses none. */
const char *config_vocabulary_find_tokenizer_model(const struct pipeline_builder *b);
/* An error for the document of `b` if others use its result, and its vocabulary is not that of its
 * base or first model. */
int config_vocabulary_check_inner_document(const struct pipeline_builder *b);

#endif
