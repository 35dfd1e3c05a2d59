/* The metadata that the model card of a merge takes over from the cards of its inputs: license,
 * language, pipeline_tag and library_name at the start of README.md, as documented at
 * https://huggingface.co/docs/hub/model-cards. */
#ifndef TV_CARD_METADATA_H
#define TV_CARD_METADATA_H

#include "model_source.h"

/* The lines of metadata in YAML, each value in quotes, library_name last; to be freed; "" if there
 * are none. They are those of `source`, the model whose auxiliary files are copied (NULL: none),
 * without those that the card of another input contradicts. The cards of other inputs are read if
 * they are in the Hub's cache; if one of them is not, license is left out, because it may be
 * another. The license is taken over with its name and link, or not at all; library_name not from a
 * GGUF model. */
char *card_metadata_text(const struct model_source *source, const struct header *h);

#endif
